"""Writes and reads archives without holding up the other requests."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from populace.actors.hosts import Hosts, ModelView
from populace.actors.turn import ModelId
from populace.adapters.memory.state import StateFormat
from populace.archive.adapter_check import check_adapters_apart
from populace.archive.exporting import export_archive
from populace.archive.importing import AdapterCheck, import_archive
from populace.archive.reading import open_archive
from populace.gateway.http.file_work import FileWork, HeldFile
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.files import disk_named
from populace.storage.records.records import RevisionRecord
from populace.storage.revisions import RevisionFiles
from populace.storage.rows.portable import PortableModel


class ArchiveService:
    """Exports and imports for one gateway."""

    def __init__(
        self,
        hosts: Hosts,
        destination: AdapterStore,
        work: FileWork,
        *,
        adapters: RevisionFiles | None = None,
        check: AdapterCheck = check_adapters_apart,
        states: StateFormat | None = None,
    ) -> None:
        """``adapters`` None are the files of ``destination``; ``states`` are those of ``import_archive``."""
        self._hosts = hosts
        self._destination = destination
        self._adapters = adapters or destination.files()
        self._work = work
        self._check = check
        self._states = states

    @property
    def bytes_max(self) -> int:
        return self._work.bytes_max

    async def export(self, model: ModelId) -> HeldFile:
        """Make the model's archive; the caller closes it.

        Raises ``Refused`` while another one of the tenant is being made, and what ``export_archive`` raises.
        """
        held = self._work.hold(model.tenant)
        return await self._work.apart(partial(self._export, model, held, asyncio.get_running_loop()), held)

    async def take_in(self, tenant: str, name: str | None, body: AsyncIterator[bytes]) -> ModelView:
        """Import the archive in ``body``. Raises ``Refused`` and what ``import_archive`` raises.

        If the client disconnects once all of the body has arrived, the model is created all the same.
        """
        held = self._work.hold(tenant)
        await held.fill(body)
        loop = asyncio.get_running_loop()
        view = await self._work.apart(partial(self._import, tenant, name, held, loop), held)
        held.close()
        return view

    def _export(self, model: ModelId, held: HeldFile, loop: asyncio.AbstractEventLoop) -> HeldFile:
        def read() -> PortableModel:
            return asyncio.run_coroutine_threadsafe(self._hosts.export_model(model), loop).result()

        with disk_named(Path(tempfile.gettempdir())):
            export_archive(held.file, model.name, self._adapters, read)
        return held

    def _import(
        self, tenant: str, name: str | None, held: HeldFile, loop: asyncio.AbstractEventLoop
    ) -> ModelView:
        def create(model: ModelId, content: PortableModel) -> ModelView:
            for data in content.revisions:
                self._adapters.keep(RevisionRecord.unpack(data).digest)
            return asyncio.run_coroutine_threadsafe(self._hosts.import_model(model, content), loop).result()

        with open_archive(held.file, "in the body", bytes_max=self.bytes_max) as archive:
            return import_archive(
                archive,
                tenant,
                name,
                self._destination,
                check=self._check,
                create=create,
                states=self._states,
            )
