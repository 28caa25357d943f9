"""Surveys shards: what they hold in all, and in which shard each row belongs.

Most rows belong to a model and move with it. The rows that do not are

* API keys and what is said of tenants, which are found by the shard of the id and of the name;
* erasures and orphans, which are looked for in all shards, and may be in several of them;
* a shard's own: who owns it, until when it was served, which compaction is due, which shard it is, and up to
  where its journal has it. The new shards begin journals of their own.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Protocol

from populace.storage.records import erasures, journal_keys, keys, tenant_keys
from populace.storage.records.errors import RecordInvalid, StoreDamaged
from populace.storage.records.records import ApiKeyRecord, TenantRecord
from populace.storage.records.transaction import ReadTransaction

Row = tuple[bytes, bytes]

_MODEL_KINDS = frozenset(prefix[:1] for prefix in keys.model_prefixes("a", "a"))
_SPREAD_KINDS = frozenset({keys.erasures(), keys.orphans()})
_NEEDED_KINDS = (keys.data_key("a", "a")[:1], keys.head("a", "a")[:1])
_KINDS = sorted(_MODEL_KINDS | _SPREAD_KINDS | {keys.api_keys(), tenant_keys.all_tenants()})


class Placement(Protocol):
    """Where models, API keys and, as these, tenants are placed: ``policies/placement.py``."""

    def shard_of(self, tenant: str, model: str, shards: int) -> int: ...

    def shard_of_key(self, key_id: str, shards: int) -> int: ...


class Totals(NamedTuple):
    """What shards hold in all, which is equal for the same rows in whatever shards they are.

    ``rows`` counts them by kind, the first byte of their keys; ``digest`` is the sum of their hashes. A row
    that may be in several shards counts once.
    """

    rows: dict[bytes, int]
    digest: int

    @property
    def models(self) -> int:
        return self.rows.get(keys.all_identities(), 0)

    @property
    def api_keys(self) -> int:
        return self.rows.get(keys.api_keys(), 0)


class Survey:
    """The rows of a store's ``shards``: counted and, with a ``target``, assigned to that many new shards.

    It keeps about 100 bytes of each model, and the rows that belong to no model.
    """

    def __init__(self, placement: Placement, shards: int, target: int | None = None) -> None:
        self._placement = placement
        self._shards = shards
        self._target = target
        self._rows: Counter[bytes] = Counter()
        self._digest = 0
        self._spread = set[bytes]()
        self._models: list[list[bytes]] = [[] for _ in range(target or 0)]
        self._lone: list[list[Row]] = [[] for _ in range(target or 0)]

    def add(self, txn: ReadTransaction, path: Path, number: int) -> None:
        """Add the rows of one shard. Raises ``StoreDamaged`` for a row that does not belong there."""
        try:
            models = self._add_models(txn, number)
            for key, value in txn.scan(b""):
                self._add_row(models, number, key, value)
        except (_Misplaced, RecordInvalid, ValueError) as error:
            raise StoreDamaged(str(path), str(error)) from error

    def totals(self) -> Totals:
        return Totals(dict(self._rows), self._digest)

    def old_shards_of(self, new: int) -> set[int]:
        """Return the shards from which models come into the new one."""
        return {self._shard_of(model, self._shards) for model in self._models[new]}

    def rows_of(self, new: int, old: Sequence[ReadTransaction]) -> Iterator[Row]:
        """Walk over the rows of a new shard, ascending; ``old`` are transactions of all surveyed shards."""
        models = [(model, old[self._shard_of(model, self._shards)]) for model in sorted(self._models[new])]
        lone = sorted(self._lone[new])
        for kind in _KINDS:
            if kind in _MODEL_KINDS:
                for model, txn in models:
                    yield from txn.scan(kind + model)
            else:
                yield from (row for row in lone if row[0].startswith(kind))

    def _add_models(self, txn: ReadTransaction, number: int) -> set[bytes]:
        models = {key[1:] for key, _ in txn.scan(keys.all_identities())}
        for model in models:
            if self._shard_of(model, self._shards) != number:
                raise _Misplaced("it has a model that belongs in another shard")
            if any(txn.get(kind + model) is None for kind in _NEEDED_KINDS):
                raise _Misplaced("a model lacks its data key or its head")
            if self._target is not None:
                self._models[self._shard_of(model, self._target)].append(model)
        return models

    def _add_row(self, models: set[bytes], number: int, key: bytes, value: bytes) -> None:
        kind, target = key[:1], self._target
        if kind in _MODEL_KINDS:
            # The key of the data key is that of the model, after its kind.
            if keys.data_key_of(key)[1:] not in models:
                raise _Misplaced(f"a row of the kind {kind.decode()!r} belongs to no model")
        elif kind in _SPREAD_KINDS:
            if key in self._spread:
                return
            self._spread.add(key)
            if target is not None:
                self._lone[erasures.any_shard_of(key, target)].append((key, value))
        elif kind == keys.api_keys():
            self._add_lone(ApiKeyRecord.unpack(value).key_id, number, key, value)
        elif kind == tenant_keys.all_tenants():
            self._add_lone(TenantRecord.unpack(value).tenant, number, key, value)
        elif journal_keys.is_of_shard(key):
            return
        else:
            raise _Misplaced(f"it has a row of the unknown kind {kind!r}")
        self._rows[kind] += 1
        self._digest = (self._digest + _hash(key, value)) % 2**128

    def _add_lone(self, key_id: str, number: int, key: bytes, value: bytes) -> None:
        if self._placement.shard_of_key(key_id, self._shards) != number:
            raise _Misplaced("it has an API key or a tenant that belongs in another shard")
        if self._target is not None:
            self._lone[self._placement.shard_of_key(key_id, self._target)].append((key, value))

    def _shard_of(self, model: bytes, shards: int) -> int:
        tenant, name, _ = model.split(b"\0")
        return self._placement.shard_of(tenant.decode(), name.decode(), shards)


class _Misplaced(Exception):
    """A row is not where it belongs."""


def _hash(key: bytes, value: bytes) -> int:
    digest = blake2b(len(key).to_bytes(4, "big"), digest_size=16)
    digest.update(key)
    digest.update(value)
    return int.from_bytes(digest.digest(), "big")
