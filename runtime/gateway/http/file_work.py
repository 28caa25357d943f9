"""Work on archives and adapters that does not hold up the other requests.

It is done on threads, a few at a time on one machine, however many gateways it has. A tenant has one file at
a time, from its first byte to its last, because a slow reader or sender holds up to a gigabyte of this
machine's disk. The file has no name, so that no personal data is left behind however this process ends.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from populace.actors.errors import Refused
from populace.archive.reading import CHUNK_BYTES
from populace.gateway.http.machine_locks import MachineLocks
from populace.storage.records.files import disk_named

T = TypeVar("T")

WORK_AT_ONCE_MAX = 2
"""Pieces of work that run at once on a machine. A log of 64 MiB takes 0.4 GiB of memory, and so does a torch
process."""
PLACES = tuple(f"work {number}" for number in range(WORK_AT_ONCE_MAX))
RETRY_SECONDS = 5.0


class HeldFile:
    """A nameless file and a tenant's turn to work on files; closing it ends both."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        with disk_named(Path(tempfile.gettempdir())):
            self.file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed in close
        self._on_close = on_close

    @property
    def size(self) -> int:
        return self.file.seek(0, 2)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read the file, once. It is closed before the last chunk is sent, so that a client that has it all
        is not refused when it asks again.
        """
        self.file.seek(0)
        chunk = await asyncio.to_thread(self.file.read, CHUNK_BYTES)
        while chunk:
            following = await asyncio.to_thread(self.file.read, CHUNK_BYTES)
            if not following:
                self.close()
            yield chunk
            chunk = following

    async def fill(self, chunks: AsyncIterator[bytes]) -> None:
        """Write the chunks to the file, which is closed on an error. Raises ``DiskRefused``."""
        try:
            async for chunk in chunks:
                with disk_named(Path(tempfile.gettempdir())):
                    await asyncio.to_thread(self.file.write, chunk)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the file and end the tenant's turn. Safe to call twice."""
        if not self.file.closed:
            self.file.close()
            self._on_close()


class FileWork:
    """The work of one gateway on archives, adapters and uploads. A file has at most ``bytes_max`` bytes.

    ``locks`` are those of the machine, which its other gateways take, too.
    """

    def __init__(self, locks: MachineLocks, *, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._locks = locks
        self._working = asyncio.Semaphore(WORK_AT_ONCE_MAX)

    def hold(self, tenant: str) -> HeldFile:
        """Make a file for a tenant, whose turn lasts until the file is closed.

        Raises ``Refused`` and ``DiskRefused``.
        """
        let_go = self._locks.take(f"file of {tenant}")
        if let_go is None:
            raise Refused(
                "Another archive, adapter or file of yours is in work; wait for its end.", RETRY_SECONDS, 1
            )
        try:
            return HeldFile(let_go)
        except BaseException:
            let_go()
            raise

    async def apart(self, work: Callable[[], T], held: HeldFile) -> T:
        """Do the work on a thread; on an error close the file once the thread no longer uses it."""

        async def in_turn() -> T:
            # The gateway's own requests wait in order; only the first of them look for a place.
            async with self._working:
                let_go = await self._locks.one_of(PLACES)
                try:
                    return await asyncio.to_thread(work)
                finally:
                    let_go()

        working = asyncio.create_task(in_turn())
        try:
            return await asyncio.shield(working)
        except BaseException:
            if working.done():
                held.close()
            else:
                working.add_done_callback(lambda _: held.close())
            raise

    async def alone(self, work: Callable[[], T], tenant: str) -> T:
        """Do work of a tenant that needs no file but takes its turn. Raises ``Refused``."""
        held = self.hold(tenant)
        done = await self.apart(work, held)
        held.close()
        return done
