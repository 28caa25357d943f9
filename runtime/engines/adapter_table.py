"""The adapters that an engine process has loaded.

An adapter that turns out unreadable inside a step kills the whole vLLM process. So an adapter is loaded
from an image that was checked when it was made, by a call of its own, whose failure is one request's alone.
That costs one step of waiting at most, and only if the adapter is not among the last ones used: as many as
there are slots stay loaded. An adapter that gives way is unloaded in the engine, in the same order.
"""

import asyncio
import itertools
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from populace.actors.engine import AdapterRef, HeldAdapters, TierStatistics
from populace.actors.errors import AdapterInvalid, EngineOverloaded, EngineUnavailable
from populace.actors.span_names import ADAPTER, ADAPTER_DIGITS, ADAPTER_LOAD, SHARED
from populace.engines.slots import AdmissionGate
from populace.engines.warm_tier import Lease, WarmTier, look_at
from populace.storage.records.durations import Durations
from populace.telemetry.tracing.spans import TRACER

LOAD_TRIES_MAX = 3
"""How often an adapter is loaded at most if its image is erased while it loads."""

ANSWER_SECONDS_MAX = 60.0
"""An engine loads and unloads in milliseconds; a call that a dying process never answers must end."""


class Loaded(NamedTuple):
    """An adapter in the engine: how vLLM numbers it, and its image, which is held meanwhile."""

    number: int
    image: Lease


class AdapterTable:
    """Loads each adapter once while it stays in use.

    vLLM distinguishes adapters by numbers; a number is never used for a second digest.
    """

    def __init__(
        self,
        load: Callable[[str, int, Path], Awaitable[None]],
        unload: Callable[[int], Awaitable[None]],
        gate: AdmissionGate,
        warm: WarmTier,
    ) -> None:
        """``load`` and ``unload`` call the engine with a digest, its number and its image's path."""
        self._load_into_engine = load
        self._unload_from_engine = unload
        self._gate = gate
        self._warm = warm
        self._numbers = itertools.count(1)
        self._loads: OrderedDict[str, asyncio.Task[Loaded]] = OrderedDict()
        self._room = asyncio.Lock()
        """Held by the load that waits for room in host memory: loads are served in their order."""
        self.waiting = 0
        self._unloading = 0
        self._changed = asyncio.Event()
        """Set when something has ended that may have held an image."""
        self._preparing = asyncio.Lock()
        self.places = 0
        """Places in the gate that are held by adapters that are being prepared and not requested."""
        self._stagings: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._hits = self._made = self._made_bytes = self._evictions = 0
        self._spent = Durations()

    async def ready(self, adapter: AdapterRef) -> Loaded:
        """Load the adapter unless it is loaded already; its requests share the call.

        Raises:
            AdapterInvalid: it is not an adapter of this base, or vLLM refused it.
        """
        if adapter.digest in self._loads:
            self._hits += 1
        return await self._loaded(adapter)

    async def _loaded(self, adapter: AdapterRef) -> Loaded:
        load = self._loads.get(adapter.digest)
        is_shared = load is not None
        if load is None:
            surplus = len(self._loads) + 1 - self._gate.statistics().adapter_slots
            load = asyncio.create_task(self._load(adapter, self._take_idle(surplus)))
            load.add_done_callback(self._ended)
            self._loads[adapter.digest] = load
        self.touch(adapter.digest)
        if load.done():
            return self._result(adapter, load)
        with TRACER.span(ADAPTER_LOAD, {ADAPTER: adapter.digest[:ADAPTER_DIGITS], SHARED: is_shared}):
            # Not cancelled with the request that began it: others may wait, and vLLM finishes it anyway.
            await asyncio.wait([load])
            return self._result(adapter, load)

    def _result(self, adapter: AdapterRef, load: "asyncio.Task[Loaded]") -> Loaded:
        """Return what a load that has ended made, or raise what it ended in."""
        if load.cancelled():
            raise EngineUnavailable("it was closed")
        if load.exception() is not None and self._loads.get(adapter.digest) is load:
            del self._loads[adapter.digest]  # the next request tries again: the disk may have been at fault
        return load.result()

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        """Make the adapter's image; it stays as long as that of an adapter that was just used.

        One adapter is prepared at a time, so that those that requests wait for find room. If ``replaces``
        is loaded and a slot is idle, the adapter is loaded too: users of the former will use the latter.
        """
        async with self._preparing:
            image = await self._image(adapter)
            image.release()
            if replaces is not None and replaces.digest in self._loads:
                await self._prepare_slot(adapter, replaces)

    async def forget(self, digest: str) -> None:
        """Unload an adapter that will not be requested again and release its image, unless it is in use."""
        load = self._loads.get(digest)
        if load is not None:
            if not load.done() or self._gate.in_flight(digest):
                return
            del self._loads[digest]
            if not load.cancelled() and load.exception() is None:
                await self._unload([load.result()])
        self._warm.forget(digest)

    async def _prepare_slot(self, adapter: AdapterRef, replaces: AdapterRef) -> None:
        if not self._gate.has_room(adapter.digest):
            return
        # As a request does: an adapter that is loaded outside the gate may take the slot of one in use.
        ticket = await self._gate.enter(adapter.digest)
        self.places += 1
        try:
            if replaces.digest in self._loads:
                self._loads.move_to_end(replaces.digest, last=False)
            await self._loaded(adapter)
        finally:
            self.places -= 1
            self._gate.leave(ticket)
            self.touch(adapter.digest)

    def stage(self, adapter: AdapterRef) -> None:
        """Begin to make the image of an adapter whose request waits for a place in the engine.

        An error here is raised again, and reported, when the request has its place.
        """
        if adapter.digest not in self._loads and not self._is_closed:
            staging = asyncio.create_task(self._stage(adapter))
            self._stagings.add(staging)
            staging.add_done_callback(self._staged)

    async def _stage(self, adapter: AdapterRef) -> None:
        (await self._lease(adapter)).release()

    def _staged(self, staging: "asyncio.Task[None]") -> None:
        self._stagings.discard(staging)
        look_at(staging)

    def touch(self, digest: str) -> None:
        """Record that the adapter was used just now: vLLM does so in every step of its requests."""
        if digest in self._loads:
            self._loads.move_to_end(digest)
            self._warm.touch(digest)
        self._changed.set()

    def held(self) -> HeldAdapters:
        """Return what is loaded or being loaded, the most recently used first, and what is in host memory."""
        return HeldAdapters(hot=tuple(reversed(self._loads)), warm=self._warm.digests())

    def has(self, digest: str) -> bool:
        """Return whether the adapter is loaded, being loaded, or in host memory."""
        return digest in self._loads or self._warm.has(digest)

    def statistics(self) -> TierStatistics:
        loaded = [
            load.result()
            for load in self._loads.values()
            if load.done() and not load.cancelled() and load.exception() is None
        ]
        return TierStatistics(
            hits=self._hits,
            loads=self._made,
            loaded_bytes=self._made_bytes,
            evictions=self._evictions,
            adapters=len(loaded),
            bytes=sum(adapter.image.bytes for adapter in loaded),
            bytes_max=None,
            load=self._spent.snapshot(),
        )

    def close(self) -> None:
        """End the loads under way; calls that wait for a load or for room raise ``EngineUnavailable``."""
        self._is_closed = True
        self._changed.set()
        for task in (*self._loads.values(), *self._stagings):
            task.cancel()
        self._warm.close()

    async def _load(self, adapter: AdapterRef, idle: Sequence[Loaded]) -> Loaded:
        # Both at once: the engine processes both calls at the end of the same step.
        gone, loaded = await asyncio.gather(
            self._unload(idle), self._load_checked(adapter), return_exceptions=True
        )
        if isinstance(loaded, BaseException):
            raise loaded
        if isinstance(gone, BaseException):
            loaded.image.release()
            raise gone
        return loaded

    async def _load_checked(self, adapter: AdapterRef) -> Loaded:
        for _ in range(LOAD_TRIES_MAX):
            image = await self._image(adapter)
            try:
                return await self._load_image(adapter, image)
            except AdapterInvalid:
                # Its image was erased meanwhile, with another model that had it: it is made anew if possible.
                if await asyncio.to_thread(image.path.exists):
                    raise
        raise EngineUnavailable("an adapter's image was erased each time that it was to be loaded")

    async def _load_image(self, adapter: AdapterRef, image: Lease) -> Loaded:
        # A new number each time, since an adapter that is being unloaded may be loaded again at once.
        number = next(self._numbers)
        began_s = time.monotonic()
        try:
            async with _answered("loaded"):
                await self._load_into_engine(adapter.digest, number, image.path)
        except BaseException:
            image.release()
            raise
        self._made += 1
        self._made_bytes += image.bytes
        self._spent.add(time.monotonic() - began_s)
        return Loaded(number, image)

    async def _image(self, adapter: AdapterRef) -> Lease:
        """Hold the adapter's image; wait for room if the adapters in use hold all of it.

        Calls are served in their order: a small image does not pass a larger one that came first.
        """
        if not self._room.locked():
            with suppress(EngineOverloaded):
                return await self._lease(adapter)
        self.waiting += 1
        try:
            async with self._room:
                return await self._image_in_turn(adapter)
        finally:
            self.waiting -= 1

    async def _image_in_turn(self, adapter: AdapterRef) -> Lease:
        while True:
            self._changed.clear()  # before the look, which takes a while, so that no end is missed
            with suppress(EngineOverloaded):
                return await self._lease(adapter)
            # Idle loaded adapters hold their images too; those being unloaded already may be enough.
            idle = [] if self._unloading else self._take_idle(len(self._loads))
            if idle:
                await self._unload(idle)
            else:
                await self._changed.wait()

    async def _lease(self, adapter: AdapterRef) -> Lease:
        if self._is_closed:
            raise EngineUnavailable("it was closed")
        return await self._warm.lease(adapter)

    async def _unload(self, idle: Sequence[Loaded]) -> None:
        self._evictions += len(idle)
        self._unloading += len(idle)
        try:
            async with _answered("unloaded"):
                await asyncio.gather(*(self._unload_from_engine(loaded.number) for loaded in idle))
        finally:
            self._unloading -= len(idle)
            for loaded in idle:
                loaded.image.release()
            self._changed.set()

    def _take_idle(self, count: int) -> list[Loaded]:
        """Remove up to this many idle adapters from the table, the least recently used first."""
        idle = [
            digest for digest, load in self._loads.items() if load.done() and not self._gate.in_flight(digest)
        ]
        taken = [self._loads.pop(digest) for digest in idle[: max(0, count)]]
        return [load.result() for load in taken if not load.cancelled() and load.exception() is None]

    def _ended(self, load: "asyncio.Task[Loaded]") -> None:
        self._changed.set()
        look_at(load)

    def check_integrity(self) -> None:
        slots = self._gate.statistics().adapter_slots
        assert sum(self._gate.in_flight(digest) for digest in self._loads) <= slots
        self._warm.check_integrity()


@asynccontextmanager
async def _answered(what: str) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            yield
    except TimeoutError as error:
        raise EngineUnavailable(f"an adapter was not {what} in {ANSWER_SECONDS_MAX:g} s") from error
