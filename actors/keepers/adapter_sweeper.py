"""Removes the adapters of erased models from the disk, as soon as no other model has them.

Adapters are shared by content, over all shards and hosts. So an erasure leaves the digests of the
model's adapters in its shard, and a sweep looks in every shard for models that have them.
"""

import asyncio
import logging
from collections.abc import Collection
from functools import partial

from populace.actors.keepers.owned_shards import OwnedShards
from populace.storage import warm_files
from populace.storage.records import erasures, keys
from populace.storage.records.errors import StorageError
from populace.storage.records.transaction import ReadTransaction
from populace.storage.shards.pages import read_snapshot
from populace.storage.store import Store

logger = logging.getLogger(__name__)


class AdapterSweeper:
    """Removes the adapters that erasures left behind in the shards of one host."""

    def __init__(self, store: Store, shards: OwnedShards) -> None:
        self._store = store
        self._shards = shards

    async def sweep(self) -> int:
        """Remove unused adapters and return how many. What cannot be removed now is left to the next sweep.

        Reads the revisions of all models on a thread, about 1 s for each million.
        """
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
        digests = {digest for found in orphans.values() for digest in found}
        try:
            removed = await asyncio.to_thread(self._remove_unused, digests)
            if removed is None:
                return 0
            for number, found in orphans.items():
                await self._shards.write(number, partial(erasures.forget_orphans, digests=found))
        except (StorageError, OSError) as error:
            logger.warning("adapters of erased models stay for the next sweep: %s", error)
            return 0
        return removed

    def _remove_unused(self, digests: Collection[str]) -> int | None:
        """Remove those that no shard has; return how many, None if an adapter is just being added."""
        files = self._store.revisions
        with files.alone() as is_alone:
            if not is_alone:
                return None
            used: set[str] = set()
            for number in range(self._store.shards):
                used |= self._used(number, digests)
            unused = [digest for digest in digests if digest not in used]
            warm = warm_files.warm_root()
            for digest in unused:
                files.remove(digest)
                warm_files.erase(warm, digest)
            files.sweep()
        return len(unused)

    def _used(self, number: int, digests: Collection[str]) -> set[str]:
        shard = self._shards.shard(number)
        if shard is None:
            with read_snapshot(self._store.shard_path(number)) as transaction:
                return _used_in(transaction, digests)
        with shard.read() as transaction:
            return _used_in(transaction, digests)


def _used_in(txn: ReadTransaction, digests: Collection[str]) -> set[str]:
    wanted = {bytes.fromhex(digest) for digest in digests}
    found = (key[-32:] for key, _ in txn.scan(keys.all_revisions()))
    return {digest.hex() for digest in found if digest in wanted}
