"""Adapters in host memory, ready for an engine: made once, kept in a budget of bytes, held while in use."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from populace.actors.engine import AdapterRef, TierStatistics
from populace.actors.errors import AdapterInvalid, EngineOverloaded, EngineUnavailable
from populace.policies.residency import Residency
from populace.storage.records.durations import Durations
from populace.storage.warm_files import WarmFiles

LOADS_MAX = 2
"""Images that are made at the same time. Each takes a thread and a multiple of its adapter's bytes."""


class Lease:
    """An image of this many bytes that stays in host memory until ``release``."""

    def __init__(self, path: Path, size: int, release: Callable[[], None]) -> None:
        self.path = path
        self.bytes = size
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Allow that the image gives way to others. A second call does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


class WarmTier:
    """The images of one process's engine; processes of a machine share the files. For one event loop."""

    def __init__(
        self,
        files: WarmFiles,
        residency: Residency,
        make: Callable[[AdapterRef], bytes | bytearray | memoryview],
        *,
        suffix: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``make`` reads, checks and converts an adapter, on a thread; ``suffix`` names what it makes."""
        self._files = files
        self._residency = residency
        self._make = make
        self._suffix = suffix
        self._clock = clock
        self._loading = asyncio.Semaphore(LOADS_MAX)
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._hits = self._made = self._made_bytes = self._evictions = 0
        self._spent = Durations()

    async def lease(self, adapter: AdapterRef) -> Lease:
        """Hold the adapter's image, which is made unless it is there; concurrent calls share the work.

        Raises what ``make`` raises, and ``EngineOverloaded`` if everything in the budget is held.
        """
        digest = adapter.digest
        if self._residency.use(digest) and self._is_there(digest):
            self._hits += 1
        # Again, if the image had to give way before this coroutine went on.
        while not self._is_there(digest):
            await self._loaded(adapter)
        self._residency.hold(digest)
        path, size = self._files.path(self._name(digest)), self._residency.size_of(digest)
        return Lease(path, size, lambda: self._residency.release(digest))

    def forget(self, digest: str) -> None:
        """Drop an image that will not be requested again, unless it is held."""
        if digest in self._residency and not self._residency.held(digest):
            self._residency.remove(digest)
            self._files.leave(self._name(digest))

    def touch(self, digest: str) -> None:
        """Note that a held image was used again, without a lease of its own."""
        self._residency.use(digest)

    def has(self, digest: str) -> bool:
        """Return whether the adapter's image is resident, or being made."""
        return digest in self._residency or digest in self._loads

    def digests(self) -> tuple[str, ...]:
        """Return the adapters whose images are resident; the one that would give way last comes first."""
        return self._residency.leaving()[::-1]

    def statistics(self) -> TierStatistics:
        return TierStatistics(
            hits=self._hits,
            loads=self._made,
            loaded_bytes=self._made_bytes,
            evictions=self._evictions,
            adapters=len(self._residency),
            bytes=self._residency.bytes,
            bytes_max=self._residency.bytes_max,
            load=self._spent.snapshot(),
        )

    def close(self) -> None:
        """End the loads under way and leave the files."""
        for load in self._loads.values():
            load.cancel()
        self._files.close()

    def check_integrity(self) -> None:
        self._residency.check_integrity()

    def _is_there(self, digest: str) -> bool:
        """Return whether the image is resident, and its file not erased with the last model that had it."""
        return digest in self._residency and self._files.path(self._name(digest)).exists()

    async def _loaded(self, adapter: AdapterRef) -> None:
        load = self._loads.get(adapter.digest)
        if load is None:
            load = self._loads[adapter.digest] = asyncio.create_task(self._load(adapter))
            load.add_done_callback(lambda done: self._ended(adapter.digest, done))
        # Not cancelled with the call that began it: others may wait for it.
        await asyncio.wait([load])
        if load.cancelled():
            raise EngineUnavailable("it was closed")
        load.result()

    async def _load(self, adapter: AdapterRef) -> None:
        name = self._name(adapter.digest)
        began_s = self._clock()
        async with self._loading:
            staged = await asyncio.to_thread(self._stage, adapter, name)
        if staged.made:
            self._made += 1
            self._made_bytes += staged.bytes
            self._spent.add(self._clock() - began_s)
        if adapter.digest in self._residency:  # its file was erased, and is needed again
            return
        left = self._residency.admit(adapter.digest, staged.bytes)
        if left is None:
            self._files.leave(name)
            if staged.bytes > self._residency.bytes_max:
                room = self._residency.bytes_max
                raise AdapterInvalid(f"its {staged.bytes:,} bytes are more than warm_bytes_max of {room:,}")
            raise EngineOverloaded("All adapters that warm_bytes_max has room for are in use.")
        for digest in left:
            self._evictions += 1
            self._files.leave(self._name(digest))

    def _stage(self, adapter: AdapterRef, name: str) -> "_Staged":
        found = self._files.use(name)
        if found is not None:
            return _Staged(found, made=False)
        image = self._make(adapter)
        try:
            self._files.add(name, image)
        except OSError as error:
            raise EngineUnavailable(f"the machine's memory has no room for an adapter ({error})") from error
        return _Staged(len(image), made=True)

    def _ended(self, digest: str, load: "asyncio.Task[None]") -> None:
        del self._loads[digest]
        look_at(load)

    def _name(self, digest: str) -> str:
        return f"{digest}.{self._suffix}"


def look_at(ended: "asyncio.Task[Any]") -> None:
    """Read a task's error, as asyncio logs an error that is never read: all that waited may be cancelled."""
    if not ended.cancelled():
        ended.exception()


class _Staged(NamedTuple):
    """The size of an image that is in the files now, and whether it was made for this call."""

    bytes: int
    made: bool
