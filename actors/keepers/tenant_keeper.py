"""Reads and writes the tenants of one host's shards: each call is one read or one group-committed write."""

from functools import partial

from populace.actors.errors import InvalidName, InvalidRequest
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.tenants import NO_LIMITS, Limits, Usage
from populace.policies.placement import shard_of_key
from populace.storage.records.keys import name_problem
from populace.storage.records.records import TenantRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import api_keys, tenants

RATES = ("requests_per_minute", "tokens_per_minute")
LIMIT_MAX = 2**53
"""The largest number that every reader of JSON has exactly."""


class TenantKeeper:
    """Serves ``Tenants`` for what is in one host's shards."""

    def __init__(self, shards: OwnedShards, shard_count: int) -> None:
        self._shards = shards
        self._shard_count = shard_count

    async def limits(self, tenant: str) -> Limits:
        _check_name(tenant)
        with self._shards.read(shard_of_key(tenant, self._shard_count)) as txn:
            record = tenants.read_tenant(txn, tenant)
        return NO_LIMITS if record is None else _limits(record)

    async def limit(self, tenant: str, limits: Limits) -> Limits:
        _check_name(tenant)
        check_limits(limits)
        record = TenantRecord(tenant=tenant, **limits._asdict())
        shard = shard_of_key(tenant, self._shard_count)
        await self._shards.write(shard, lambda txn: tenants.put_tenant(txn, record))
        return limits

    async def usage(self, tenant: str, *, with_bytes: bool = True) -> Usage:
        _check_name(tenant)
        count = partial(tenants.count_rows, tenant=tenant, with_bytes=with_bytes)
        total = Usage()
        for number in self._shards.numbers:
            rows = await self._shards.read_on_thread(number, count)
            total = total.plus(Usage(*rows))
        return total

    async def all(self) -> dict[str, Limits]:
        found: dict[str, Limits] = {}
        for number in self._shards.numbers:
            found = merged(found, await self._shards.read_on_thread(number, _known))
        return found


def merged(one: dict[str, Limits], other: dict[str, Limits]) -> dict[str, Limits]:
    """Join what two places know of tenants: the limits of each are in one of them."""
    return {**other, **{name: limits for name, limits in one.items() if other.get(name) in (None, NO_LIMITS)}}


def check_limits(limits: Limits) -> None:
    """Raise ``InvalidRequest`` for a limit that none can be."""
    for name, value in limits._asdict().items():
        least = 1 if name in RATES else 0
        if value is not None and not least <= value <= LIMIT_MAX:
            raise InvalidRequest(f"{name} is a number from {least} on, or null for no limit.", name)


def _check_name(tenant: str) -> None:
    problem = name_problem(tenant)
    if problem is not None:
        raise InvalidName(tenant, problem)


def _known(txn: ReadTransaction) -> dict[str, Limits]:
    keyed = {key.tenant: NO_LIMITS for key in api_keys.list_keys(txn)}
    living = dict.fromkeys(tenants.walk_tenants_with_models(txn), NO_LIMITS)
    limited = {record.tenant: _limits(record) for record in tenants.walk_tenants(txn)}
    return {**keyed, **living, **limited}


def _limits(record: TenantRecord) -> Limits:
    return Limits(*(getattr(record, name) for name in Limits._fields))
