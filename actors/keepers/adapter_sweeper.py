"""Removes the adapters of erased models from the disk and from all nodes, as soon as no other model has them.

Adapters are shared by content, over all shards and hosts. So an erasure leaves the digests of the
model's adapters in its shard, and a sweep asks the host of every shard for models that have them. It does
not read other hosts' files: a copy of a shard that lies about would have it remove adapters that are in use.

Engines have adapters too, in the memory of their nodes. Once the file is gone none can load it anew, and then
they are asked to erase what they have. An adapter counts as removed when all that was asked has been done.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, ExitStack
from functools import partial

from populace.actors.keepers.owned_shards import OwnedShards
from populace.storage.journal.journals import Journals
from populace.storage.records import erasures
from populace.storage.records.errors import PopulaceError, StorageError
from populace.storage.records.transaction import ReadTransaction
from populace.storage.store import Store

logger = logging.getLogger(__name__)

SHIP_SECONDS_MAX = 30.0
"""How long a sweep waits until the journal has what was committed."""

UsedElsewhere = Callable[[frozenset[str]], Awaitable[frozenset[str]]]
"""Asks the other hosts which of these adapters their models have; raises if one does not know."""


EraseFromNodes = Callable[[frozenset[str]], Awaitable[None]]
"""Erases adapters from the memory of all nodes; raises if one cannot do it now, or still uses one of them."""


class AdapterSweeper:
    """Removes the adapters that erasures left behind in the shards of one host."""

    def __init__(
        self,
        store: Store,
        shards: OwnedShards,
        used_elsewhere: UsedElsewhere | None,
        journals: Journals | None = None,
        erase_from_nodes: EraseFromNodes | None = None,
    ) -> None:
        """``used_elsewhere`` None: there are no other hosts. What another one has is never removed then.

        ``erase_from_nodes`` None: there are no engines.
        """
        self._journals = journals
        self._erase_from_nodes = erase_from_nodes
        self._may_have_strays = True
        """Whether this disk may have adapters that no model got, or whose models another machine erased."""
        self._store = store
        self._shards = shards
        self._used_elsewhere = used_elsewhere

    async def used(self, digests: frozenset[str]) -> frozenset[str]:
        """Return those of the adapters that models of this host's shards have.

        Reads the revisions of all of them, about 1 s for each million. Raises as ``OwnedShards.read`` does
        if a shard is not served now.
        """
        if not digests:
            return digests
        used = [
            await self._shards.read_on_thread(number, partial(_used_in, digests=digests))
            for number in self._shards.numbers
        ]
        return frozenset[str]().union(*used)

    async def sweep(self) -> int:
        """Remove unused adapters and return how many. What cannot be removed now is left to the next one."""
        removed = await self._sweep_orphans()
        return removed + (await self._sweep_strays() if self._may_have_strays else 0)

    async def _sweep_strays(self) -> int:
        """Remove from this disk, once for each host, what no model has, and what was not finished.

        A process may have been killed between an adapter's file and the row that names it, and the store may
        have been on another machine since this directory was last served.
        """
        try:
            here = frozenset(await asyncio.to_thread(self._store.revisions.digests))
            removed = await self._remove_unused(here, from_journal=False)
        except (PopulaceError, OSError) as error:
            logger.warning("adapters that no model has stay for the next sweep: %s", error)
            return 0
        self._may_have_strays = removed is None
        return removed or 0

    async def _sweep_orphans(self) -> int:
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
            if self._journals is not None:
                await self._give_up(digests, self._journals)
            removed = await self._remove_unused(digests)
            if removed is None:
                return 0
            for number in orphans if self._journals is None else self._shards.numbers:
                await self._shards.write(number, partial(erasures.forget_orphans, digests=digests))
        except (PopulaceError, OSError) as error:
            logger.warning("adapters of erased models stay for the next sweep: %s", error)
            return 0
        return removed

    async def _remove_unused(self, digests: frozenset[str], *, from_journal: bool = True) -> int | None:
        """Remove those that no model has; return how many, None if an adapter is just being added.

        Not ``from_journal``: another machine may be adding one, which a model there is about to have.
        """
        files = self._store.revisions
        async with AsyncExitStack() as afterwards:
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
                if self._erase_from_nodes is not None and unused:
                    # Also if the journal's bucket does not answer; and adapters may be added meanwhile.
                    afterwards.push_async_callback(self._erase_from_nodes, unused)
                await asyncio.to_thread(self._remove, unused, from_journal=from_journal)
        return len(unused)

    async def _give_up(self, digests: frozenset[str], journals: Journals) -> None:
        """Commit in every shard that these go; raises ``StorageError`` if one is another owner's.

        A host that was overtaken and does not know it reads old rows, and would remove from the bucket what
        the new owner's models have.
        """
        for number in self._shards.numbers:
            await self._shards.write(number, partial(erasures.give_up, digests=digests))
        await asyncio.to_thread(journals.ship_all, SHIP_SECONDS_MAX)
        for number in self._shards.numbers:
            with self._shards.read(number):
                pass  # shipping stopped a shard that another owner has

    def _remove(self, digests: Collection[str], *, from_journal: bool) -> None:
        files = self._store.revisions
        for digest in digests:
            files.remove(digest)
        files.sweep()
        if from_journal and self._journals is not None:
            for digest in digests:
                self._journals.adapters.remove(digest)


def _used_in(txn: ReadTransaction, digests: Collection[str]) -> set[str]:
    return {digest for digest in erasures.digests_in_use(txn) if digest in digests}
