"""Removes the adapters of erased models from the disk, as soon as no other model has them.

Adapters are shared by content, over all shards and hosts. So an erasure leaves the digests of the
model's adapters in its shard, and a sweep asks the host of every shard for models that have them. It does
not read other hosts' files: a copy of a shard that lies about would have it remove adapters that are in use.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from functools import partial

from populace.actors.keepers.owned_shards import OwnedShards
from populace.storage import warm_files
from populace.storage.journal.journals import Journals
from populace.storage.records import erasures, keys
from populace.storage.records.errors import PopulaceError, StorageError
from populace.storage.records.transaction import ReadTransaction
from populace.storage.store import Store

logger = logging.getLogger(__name__)

UsedElsewhere = Callable[[frozenset[str]], Awaitable[frozenset[str]]]
"""Asks the other hosts which of these adapters their models have; raises if one does not know."""


class AdapterSweeper:
    """Removes the adapters that erasures left behind in the shards of one host."""

    def __init__(
        self,
        store: Store,
        shards: OwnedShards,
        used_elsewhere: UsedElsewhere | None,
        journals: Journals | None = None,
    ) -> None:
        """``used_elsewhere`` None: there are no other hosts. What another one has is never removed then."""
        self._journals = journals
        self._store = store
        self._shards = shards
        self._used_elsewhere = used_elsewhere

    async def used(self, digests: frozenset[str]) -> frozenset[str]:
        """Return those of the adapters that models of this host's shards have.

        Reads the revisions of all of them, about 1 s for each million. Raises as ``OwnedShards.read`` does
        if a shard is not served now.
        """
        used = [
            await self._shards.read_on_thread(number, partial(_used_in, digests=digests))
            for number in self._shards.numbers
        ]
        return frozenset[str]().union(*used)

    async def sweep(self) -> int:
        """Remove unused adapters and return how many. What cannot be removed now is left to the next one."""
        orphans: dict[int, list[str]] = {}
        for number in self._shards.numbers:
            try:
                with self._shards.read(number) as transaction:
                    found = erasures.read_orphans(transaction)
            except StorageError as error:
                logger.warning("the adapters that shard %d gave up are not looked at: %s", number, error)
            else:
                if found:
                    orphans[number] = found
        if not orphans:
            return 0
        digests = frozenset(digest for found in orphans.values() for digest in found)
        try:
            removed = await self._remove_unused(digests)
            if removed is None:
                return 0
            for number, found in orphans.items():
                await self._shards.write(number, partial(erasures.forget_orphans, digests=found))
        except (PopulaceError, OSError) as error:
            logger.warning("adapters of erased models stay for the next sweep: %s", error)
            return 0
        return removed

    async def _remove_unused(self, digests: frozenset[str]) -> int | None:
        """Remove those that no model has; return how many, None if an adapter is just being added."""
        files = self._store.revisions
        with ExitStack() as stack:
            # Meanwhile no model can get one of them: who gives it one adds its file first.
            if not await asyncio.to_thread(stack.enter_context, files.alone()):
                return None
            unused = digests - await self.used(digests)
            if self._used_elsewhere is not None:
                unused -= await self._used_elsewhere(unused)
            elif len(self._shards.numbers) < self._store.shards:
                logger.warning("adapters of erased models stay: the other hosts cannot be asked for them")
                return None
            await asyncio.to_thread(self._remove, unused)
        return len(unused)

    def _remove(self, digests: Collection[str]) -> None:
        files, warm = self._store.revisions, warm_files.warm_root()
        for digest in digests:
            files.remove(digest)
            warm_files.erase(warm, digest)
            if self._journals is not None:
                self._journals.adapters.remove(digest)
        files.sweep()


def _used_in(txn: ReadTransaction, digests: Collection[str]) -> set[str]:
    wanted = {bytes.fromhex(digest) for digest in digests}
    found = (key[-32:] for key, _ in txn.scan(keys.all_revisions()))
    return {digest.hex() for digest in found if digest in wanted}
