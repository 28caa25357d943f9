"""The API keys in one host's shards: each call is one read or one group-committed write."""

import logging
from collections.abc import Iterable
from dataclasses import fields
from functools import partial
from typing import Any

from populace.actors.api_keys import ROLES, ApiKey
from populace.actors.clock import Clock
from populace.actors.errors import InvalidName, InvalidRequest
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.keepers.tenant_keeper import RATES, check_limits
from populace.actors.tenants import Limits
from populace.actors.turn import BASE_REVISION
from populace.policies.placement import shard_of_key
from populace.storage.records.errors import StorageError
from populace.storage.records.keys import RESERVED_MODEL_NAMES, name_problem
from populace.storage.records.records import ApiKeyRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import api_keys

logger = logging.getLogger(__name__)

MODELS_MAX = 64
"""Models that a key may name; it is looked up each ten seconds, with all of them."""


_KEPT = tuple(field.name for field in fields(ApiKey) if field.name != "limits")
"""The fields of a key that its record has as they are."""


class KeyKeeper:
    """Serves ``ApiKeys`` for the keys whose ids are placed in one host's shards."""

    def __init__(self, shards: OwnedShards, shard_count: int, *, clock: Clock) -> None:
        self._shards = shards
        self._shard_count = shard_count
        self._clock = clock
        self._used_ms: dict[int, dict[str, int]] = {}
        """Uses that are not written yet, by shard and key id."""

    async def create(self, key: ApiKey) -> None:
        _check(key)
        record = _record(key)
        await self._shards.write(self._shard(key.key_id), lambda txn: api_keys.put_key(txn, record))

    async def find(self, key_id: str) -> ApiKey | None:
        with self._shards.read(self._shard(key_id)) as transaction:
            return self._viewed(api_keys.find_key(transaction, key_id))

    async def of_tenant(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        found: list[ApiKey] = []
        for number in self._shards.numbers:
            with self._shards.read(number) as transaction:
                found.extend(map(self._view, api_keys.list_keys(transaction, tenant)))
        return oldest_first(found)

    async def revoke(self, key_id: str) -> ApiKey | None:
        now_ms = self._clock.epoch_ms()
        record = await self._shards.write(
            self._shard(key_id), lambda txn: api_keys.revoke_key(txn, key_id, now_ms=now_ms)
        )
        return self._viewed(record)

    async def rotate(self, key_id: str, secret_sha256: bytes, *, grace_ms: int) -> ApiKey | None:
        if grace_ms < 0:
            raise InvalidRequest("The time for which the former secret counts is not negative.", "grace")
        until_ms = self._clock.epoch_ms() + grace_ms
        record = await self._shards.write(
            self._shard(key_id),
            lambda txn: api_keys.rotate_key(txn, key_id, secret_sha256, former_until_ms=until_ms),
        )
        if record is not None and record.revoked_ms is not None:
            raise InvalidRequest(f"The key {key_id} is revoked: make another one.", "key_id")
        return self._viewed(record)

    async def limit(self, key_id: str, limits: Limits) -> ApiKey | None:
        _check_limits(limits)
        record = await self._shards.write(
            self._shard(key_id), lambda txn: api_keys.limit_key(txn, key_id, _stored(limits))
        )
        return self._viewed(record)

    async def note_use(self, key_id: str) -> None:
        self._used_ms.setdefault(self._shard(key_id), {})[key_id] = self._clock.epoch_ms()

    async def write_uses(self) -> None:
        """Write when keys were used last, each shard's at once. Called by the runtime's clock, once a minute.

        What a shard does not take now is written the next time.
        """
        for number in list(self._used_ms):
            used_ms = self._used_ms.pop(number)
            try:
                await self._shards.write(number, partial(_note_uses, used_ms))
            except StorageError as error:
                logger.warning("the last uses of keys in shard %d were not written: %s", number, error)
                self._used_ms[number] = {**used_ms, **self._used_ms.get(number, {})}

    def _view(self, record: ApiKeyRecord) -> ApiKey:
        told: dict[str, Any] = {name: getattr(record, name) for name in _KEPT}
        used_ms = self._used_ms.get(self._shard(record.key_id), {}).get(record.key_id)
        if used_ms is not None:
            told["used_ms"] = used_ms
        return ApiKey(**told, limits=Limits(*(getattr(record, name) for name in RATES)))

    def _viewed(self, record: ApiKeyRecord | None) -> ApiKey | None:
        return None if record is None else self._view(record)

    def _shard(self, key_id: str) -> int:
        return shard_of_key(key_id, self._shard_count)


def _check(key: ApiKey) -> None:
    problem = name_problem(key.tenant)
    if problem is not None:
        raise InvalidName(key.tenant, problem)
    for model in key.models or ():
        problem = None if model == BASE_REVISION else name_problem(model, reserved=RESERVED_MODEL_NAMES)
        if problem is not None:
            raise InvalidName(model, problem)
    if key.role not in ROLES:
        raise InvalidRequest(f"A key has the role {', '.join(ROLES[:-1])} or {ROLES[-1]}.", "role")
    if key.models is not None and not 0 < len(key.models) <= MODELS_MAX:
        raise InvalidRequest(f"A key names 1 to {MODELS_MAX} models, or none to be for all.", "models")
    if key.models is not None and key.role == "admin":
        message = "A key with the role admin is for all models: leave the models out, or give another role."
        raise InvalidRequest(message, "models")
    if key.expires_ms is not None and key.expires_ms <= key.created_ms:
        raise InvalidRequest("A key ends after it is made.", "expires_in")
    _check_limits(key.limits)


def _check_limits(limits: Limits) -> None:
    check_limits(limits)
    if any(value is not None for value in limits[len(RATES) :]):
        raise InvalidRequest(f"A key has limits of its own of {' and '.join(RATES)} alone.", "limits")


def _record(key: ApiKey) -> ApiKeyRecord:
    told: dict[str, Any] = {name: getattr(key, name) for name in _KEPT}
    told.update(_stored(key.limits))
    return ApiKeyRecord(**told)


def _stored(limits: Limits) -> dict[str, int | None]:
    return {name: getattr(limits, name) for name in RATES}


def oldest_first(found: Iterable[ApiKey]) -> tuple[ApiKey, ...]:
    return tuple(sorted(found, key=lambda key: (key.created_ms, key.key_id)))


def _note_uses(used_ms: dict[str, int], txn: WriteTransaction) -> None:
    api_keys.note_uses(txn, used_ms)
