"""Imports, merges and compares adapters without holding up the other requests.

Work that needs torch is done in a process of its own (``runtime/archive/adapter_work.py``). An adapter is
protected from removal until its model refers to it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from populace.actors.hosts import Hosts, ModelView, Revision
from populace.actors.merging import LayerDifference, MergeOptions
from populace.actors.turn import ModelId
from populace.archive.adapter_upload import uploaded_revision
from populace.archive.adapter_work import (
    Comparing,
    DoWork,
    Made,
    Merging,
    compared_by,
    do_work_apart,
    merged_revision,
)
from populace.gateway.http.file_work import FileWork
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.errors import ModelExists, ModelNotFound
from populace.storage.revisions import RevisionFiles

Give = Callable[[Revision], Coroutine[Any, Any, ModelView]]
"""Registers a stored revision with its model."""


class AdapterService:
    """Work on adapters for one gateway. All methods raise ``Refused`` while other work of the tenant runs."""

    def __init__(
        self,
        hosts: Hosts,
        store: AdapterStore,
        work: FileWork,
        *,
        adapters: RevisionFiles | None = None,
        do_work: DoWork = do_work_apart,
    ) -> None:
        """``adapters`` None are the files of ``store``."""
        self._hosts = hosts
        self._store = store
        self._adapters = adapters or store.files()
        self._work = work
        self._do_work = do_work

    @property
    def bytes_max(self) -> int:
        return self._work.bytes_max

    async def publish(self, model: ModelId, alias: str, body: AsyncIterator[bytes]) -> Revision:
        """Import the adapter in ``body`` as a revision of the model, and move ``alias`` to it.

        A missing model is reported before the body is read. If the client disconnects once all of the body
        has arrived, the revision is published all the same. Raises ``AdapterInvalid``, ``AdapterMismatch``,
        ``DiskRefused`` and what ``Hosts.publish_revision`` raises; the alias has not moved then.
        """
        await self._hosts.show_model(model)
        return await self._take_in(
            model, body, lambda revision: self._hosts.publish_revision(model, revision, alias)
        )

    async def create(self, model: ModelId, body: AsyncIterator[bytes]) -> Revision:
        """Create the model with the adapter in ``body`` as its first revision.

        Raises what ``publish`` and ``Hosts.create_model`` raise; nothing is created then.
        """
        if await self._exists(model):
            raise ModelExists(model.name)
        return await self._take_in(model, body, lambda revision: self._hosts.create_model(model, revision))

    async def merge(
        self,
        members: dict[str, str],
        target: ModelId,
        weights: dict[str, float] | None,
        options: MergeOptions,
    ) -> Made:
        """Merge revisions, given by model name, into one of ``target``, which is created if missing.

        ``weights`` are those of ``weights_of``.

        Raises ``InvalidRequest``, ``AdapterInvalid``, ``AdapterMismatch``, ``DiskRefused`` and what
        ``Hosts.publish_revision`` raises.
        """
        work = Merging(store=self._store, members=members, weights=weights, options=options, now_ms=_now_ms())
        loop = asyncio.get_running_loop()

        async def give(revision: Revision) -> ModelView:
            try:
                return await self._hosts.publish_revision(target, revision)
            except ModelNotFound:
                return await self._hosts.create_model(target, revision)

        def merge() -> Made:
            self._fetch(*members.values())
            with merged_revision(self._do_work, work) as made:
                self._adapters.keep(made.revision.digest)
                asyncio.run_coroutine_threadsafe(give(made.revision), loop).result()
            return made

        made = await self._work.alone(merge, target.tenant)
        return made.model_copy(update={"revision": await self._kept(target, made.revision)})

    async def compare(
        self, tenant: str, first: str | None, second: str | None
    ) -> tuple[LayerDifference, ...]:
        """Compare two revisions, given by digest; None is the base.

        Raises ``AdapterInvalid`` and ``AdapterMismatch``.
        """
        work = Comparing(store=self._store, first=first, second=second)

        def compare() -> tuple[LayerDifference, ...]:
            self._fetch(first, second)
            return compared_by(self._do_work, work)

        return await self._work.alone(compare, tenant)

    async def _take_in(self, model: ModelId, body: AsyncIterator[bytes], give: Give) -> Revision:
        held = self._work.hold(model.tenant)
        await held.fill(body)
        loop = asyncio.get_running_loop()

        def take_in() -> Revision:
            with uploaded_revision(
                held.file, self._store, bytes_max=self.bytes_max, now_ms=_now_ms(), do_work=self._do_work
            ) as revision:
                self._adapters.keep(revision.digest)
                asyncio.run_coroutine_threadsafe(give(revision), loop).result()
            return revision

        made = await self._work.apart(take_in, held)
        held.close()
        return await self._kept(model, made)

    def _fetch(self, *digests: str | None) -> None:
        """Have adapters on this machine's disk, for a process that only reads there. Blocks."""
        for digest in digests:
            if digest is not None:
                self._adapters.here(digest)

    async def _exists(self, model: ModelId) -> bool:
        try:
            await self._hosts.show_model(model)
        except ModelNotFound:
            return False
        return True

    async def _kept(self, model: ModelId, made: Revision) -> Revision:
        """Read the model's record of a revision, which may be older than this import of it."""
        known = await self._hosts.list_revisions(model)
        return next((revision for revision in known if revision.digest == made.digest), made)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
