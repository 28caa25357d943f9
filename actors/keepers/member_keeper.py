"""The members of one host's models: each call is one read or one group-committed write."""

from collections.abc import Callable
from itertools import islice
from typing import get_args

from populace.actors.clock import Clock
from populace.actors.errors import InvalidRequest
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.members import MemberView, Profile
from populace.actors.turn import BASE_REVISION, ModelId
from populace.policies.diversity.disclosure import Sharing
from populace.storage.records.records import MemberRecord, ProfileRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import members
from populace.storage.rows.members import StoredMember

SHARINGS: tuple[Sharing, ...] = get_args(Sharing)


class MemberKeeper:
    """Serves ``Members`` for the models of one host."""

    def __init__(self, shards: OwnedShards, shard_of: Callable[[ModelId], int], *, clock: Clock) -> None:
        self._shards = shards
        self._shard_of = shard_of
        self._clock = clock

    async def share(self, model: ModelId, sharing: Sharing | None) -> MemberView | None:
        if sharing is not None and sharing not in SHARINGS:
            raise InvalidRequest(f"A model shares {' or '.join(SHARINGS)}, not {sharing!r}.", "sharing")
        now_ms = self._clock.epoch_ms()

        def share(txn: WriteTransaction) -> StoredMember | None:
            record = None if sharing is None else MemberRecord(sharing=sharing, since_ms=now_ms)
            members.take_part(txn, *model, record)
            return members.read_member(txn, *model)

        return _viewed(model.tenant, await self._shards.write(self._shard_of(model), share))

    async def of_model(self, model: ModelId) -> MemberView | None:
        with self._shards.read(self._shard_of(model)) as txn:
            return _viewed(model.tenant, members.read_member(txn, *model))

    async def of_tenant(self, tenant: str) -> tuple[MemberView, ...]:
        found: list[MemberView] = []
        for number in self._shards.listed:
            found += await self._shards.read_on_thread(
                number, lambda txn: [_view(tenant, record) for record in members.walk_members(txn, tenant)]
            )
        return by_name(found)

    async def unprofiled(self, probes: str, *, limit: int = 64) -> tuple[MemberView, ...]:
        def read(txn: ReadTransaction) -> list[MemberView]:
            walk = (_view(tenant, record) for tenant, record in members.walk_all_members(txn))
            missing = (member for member in walk if not (member.is_profiled and _is_of(member, probes)))
            return list(islice(missing, limit))

        found: list[MemberView] = []
        for number in self._shards.listed:
            if len(found) < limit:
                found += await self._shards.read_on_thread(number, read)
        return tuple(found[:limit])

    async def keep_profile(self, model: ModelId, profile: Profile) -> bool:
        record = ProfileRecord(**profile._asdict(), created_ms=self._clock.epoch_ms())
        return await self._shards.write(
            self._shard_of(model), lambda txn: members.put_profile(txn, *model, record)
        )


def by_name(found: list[MemberView]) -> tuple[MemberView, ...]:
    return tuple(sorted(found, key=lambda member: member.model))


def _is_of(member: MemberView, probes: str) -> bool:
    return member.profile is not None and member.profile.probes == probes


def _viewed(tenant: str, stored: StoredMember | None) -> MemberView | None:
    return None if stored is None else _view(tenant, stored)


def _view(tenant: str, stored: StoredMember) -> MemberView:
    kept = stored.profile
    profile = (
        None
        if kept is None
        else Profile(kept.revision, kept.probes, kept.choices, kept.log_probs, kept.accuracy)
    )
    return MemberView(
        ModelId(tenant, stored.name),
        stored.base,
        stored.revision or BASE_REVISION,
        stored.record.sharing,
        stored.record.since_ms,
        profile,
    )
