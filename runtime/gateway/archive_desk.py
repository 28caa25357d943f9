"""Making and reading archives beside the requests that are answered meanwhile.

The work is done on threads, a few at a time. A tenant has one archive at a time, from its first byte to its
last: a slow reader or sender holds a file of up to a gigabyte on this machine's disk. The file
has no name, so that nothing of a person is left of it, however this process ends.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from populace.actors.errors import Refused
from populace.actors.hosts import Hosts, ModelView
from populace.actors.turn import ModelId
from populace.archive.adapter_check import check_adapters_apart
from populace.archive.exporting import export_archive
from populace.archive.importing import AdapterCheck, Destination, import_archive
from populace.archive.reading import CHUNK_BYTES, open_archive
from populace.storage.records.files import disk_named
from populace.storage.rows.portable import PortableModel

T = TypeVar("T")

WORK_AT_ONCE_MAX = 2
"""A log of 64 MiB takes 0.4 GiB of memory on its way."""
RETRY_SECONDS = 5.0


class HeldFile:
    """A file without a name and a tenant's turn at the desk; both are over when it is closed."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        with disk_named(Path(tempfile.gettempdir())):
            self.file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed in close
        self._on_close = on_close

    @property
    def size(self) -> int:
        return self.file.seek(0, 2)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read all of it, once. It is closed before the last chunk leaves: who has that may come again."""
        self.file.seek(0)
        chunk = await asyncio.to_thread(self.file.read, CHUNK_BYTES)
        while chunk:
            following = await asyncio.to_thread(self.file.read, CHUNK_BYTES)
            if not following:
                self.close()
            yield chunk
            chunk = following

    async def fill(self, chunks: AsyncIterator[bytes]) -> None:
        """Write what comes. Raises ``DiskRefused``."""
        async for chunk in chunks:
            with disk_named(Path(tempfile.gettempdir())):
                await asyncio.to_thread(self.file.write, chunk)

    def close(self) -> None:
        """End both. Safe to call twice."""
        if not self.file.closed:
            self.file.close()
            self._on_close()


class ArchiveDesk:
    """Exports and imports for one gateway."""

    def __init__(
        self,
        hosts: Hosts,
        destination: Destination,
        *,
        bytes_max: int,
        check: AdapterCheck = check_adapters_apart,
    ) -> None:
        self.bytes_max = bytes_max
        self._hosts = hosts
        self._destination = destination
        self._check = check
        self._tenants: set[str] = set()
        self._working = asyncio.Semaphore(WORK_AT_ONCE_MAX)

    async def export(self, model: ModelId) -> HeldFile:
        """Make the model's archive; the caller closes it.

        Raises ``Refused`` while the tenant has another one in the making, and as ``export_archive``.
        """
        held = self._hold(model.tenant)
        return await self._apart(partial(self._export, model, held, asyncio.get_running_loop()), held)

    async def take_in(self, tenant: str, name: str | None, body: AsyncIterator[bytes]) -> ModelView:
        """Import the archive that comes as ``body``. Raises ``Refused`` and as ``import_archive``.

        A caller who leaves when all of it has come gets the model nevertheless.
        """
        held = self._hold(tenant)
        try:
            await held.fill(body)
        except BaseException:
            held.close()
            raise
        loop = asyncio.get_running_loop()
        view = await self._apart(partial(self._import, tenant, name, held, loop), held)
        held.close()
        return view

    def _hold(self, tenant: str) -> HeldFile:
        if tenant in self._tenants:
            raise Refused("Another archive of yours is being made or read; wait for its end.", RETRY_SECONDS)
        held = HeldFile(partial(self._tenants.discard, tenant))
        self._tenants.add(tenant)
        return held

    async def _apart(self, work: Callable[[], T], held: HeldFile) -> T:
        """Do the work on a thread; on an error the file is closed, but not before the thread let go of it."""

        async def in_turn() -> T:
            async with self._working:
                return await asyncio.to_thread(work)

        working = asyncio.create_task(in_turn())
        try:
            return await asyncio.shield(working)
        except BaseException:
            if working.done():
                held.close()
            else:
                working.add_done_callback(lambda _: held.close())
            raise

    def _export(self, model: ModelId, held: HeldFile, loop: asyncio.AbstractEventLoop) -> HeldFile:
        def read() -> PortableModel:
            return asyncio.run_coroutine_threadsafe(self._hosts.export_model(model), loop).result()

        with disk_named(Path(tempfile.gettempdir())):
            export_archive(held.file, model.name, self._destination.data_directory, read)
        return held

    def _import(
        self, tenant: str, name: str | None, held: HeldFile, loop: asyncio.AbstractEventLoop
    ) -> ModelView:
        def create(model: ModelId, content: PortableModel) -> ModelView:
            return asyncio.run_coroutine_threadsafe(self._hosts.import_model(model, content), loop).result()

        with open_archive(held.file, "in the body", bytes_max=self.bytes_max) as archive:
            return import_archive(archive, tenant, name, self._destination, check=self._check, create=create)
