"""The suites of one host's models: each call is one read or one group-committed write."""

from collections.abc import Callable

from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.suites import Suite, record_of, suite_in
from populace.actors.turn import ModelId
from populace.storage.rows import suites


class SuiteKeeper:
    """Serves ``Suites`` for the models of one host."""

    def __init__(self, shards: OwnedShards, shard_of: Callable[[ModelId], int]) -> None:
        self._shards = shards
        self._shard_of = shard_of

    async def show(self, model: ModelId) -> Suite:
        with self._shards.read(self._shard_of(model)) as txn:
            return suite_in(suites.read_suite(txn, *model))

    async def keep(self, model: ModelId, suite: Suite) -> Suite:
        record = record_of(suite)
        await self._shards.write(self._shard_of(model), lambda txn: suites.put_suite(txn, *model, record))
        return suite

    async def remove(self, model: ModelId) -> None:
        await self._shards.write(self._shard_of(model), lambda txn: suites.delete_suite(txn, *model))
