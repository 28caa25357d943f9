"""The consents of one host's models to be learned from: each call is one read or one committed write."""

import secrets
from collections.abc import Callable

from populace.actors.clock import Clock
from populace.actors.contributors import Contribution
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.turn import ModelId
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import contributors
from populace.storage.rows.contributors import ContributorRecord

ID_BYTES = 16


class ContributorKeeper:
    """Serves ``Contributors`` for the models of one host."""

    def __init__(self, shards: OwnedShards, shard_of: Callable[[ModelId], int], *, clock: Clock) -> None:
        self._shards = shards
        self._shard_of = shard_of
        self._clock = clock

    async def consent(self, model: ModelId, *, agrees: bool) -> Contribution:
        new_id, now_ms = secrets.token_bytes(ID_BYTES), self._clock.epoch_ms()

        def consent(txn: WriteTransaction) -> ContributorRecord | None:
            return contributors.set_consent(txn, *model, agrees=agrees, new_id=new_id, now_ms=now_ms)

        return _contribution(model, await self._shards.write(self._shard_of(model), consent))

    async def of_model(self, model: ModelId) -> Contribution:
        with self._shards.read(self._shard_of(model)) as txn:
            return _contribution(model, contributors.read_contributor(txn, *model))

    async def of_tenant(self, tenant: str) -> tuple[Contribution, ...]:
        found: list[Contribution] = []
        for number in self._shards.listed:
            found += await self._shards.read_on_thread(
                number,
                lambda txn: [
                    _contribution(ModelId(tenant, name), record)
                    for name, record in contributors.walk_contributors(txn, tenant)
                ],
            )
        return tuple(sorted(found))


def _contribution(model: ModelId, record: ContributorRecord | None) -> Contribution:
    if record is None:
        return Contribution(model, contributes=False, since_ms=None, id=None)
    return Contribution(model, record.agrees, record.since_ms, record.id.hex())
