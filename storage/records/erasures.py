"""Erases a personal model: its rows, its data key, and in time every trace of it.

The rows and the data key are deleted at once; everything sealed with that key is lost, also in free pages,
in files that were compacted away and in backups. An erasure leaves only the random id of the data key, so
that an earlier backup does not bring the model back. A compaction then removes the names and the wrapped
key from the free pages, and the adapters are removed when no model has them.
"""

import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple, Self

from populace.storage.records import keys
from populace.storage.records.errors import ModelNotFound, RecordInvalid
from populace.storage.records.records import DataKeyRecord, ErasureRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction

_ERASED = struct.Struct(">qQ")


class Erased(NamedTuple):
    """The erasures that wait for a compaction: the time of the first one in ms, and their number.

    They are erased models, and models of which a turn was forgotten.
    """

    first_ms: int
    models: int

    def pack(self) -> bytes:
        return _ERASED.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        return cls(*_ERASED.unpack(data))


def erase_model(txn: WriteTransaction, tenant: str, name: str, *, now_ms: int) -> None:
    """Remove every row of the model and its data key: all or nothing. Raises ``ModelNotFound``."""
    # The identity and not the head: a damaged model can still be erased.
    if keys.name_problem(name) or txn.get(keys.identity(tenant, name)) is None:
        raise ModelNotFound(name)
    key_id = _key_id(txn, tenant, name)
    revisions = keys.revisions(tenant, name)
    digests = [key[len(revisions) :].hex() for key, _ in txn.scan(revisions)]

    for prefix in keys.model_prefixes(tenant, name):
        txn.delete_prefix(prefix)
    if key_id is not None:
        txn.put(keys.erasure(key_id), ErasureRecord(erased_ms=now_ms).pack())
    note_erasure(txn, digests, now_ms=now_ms)


def note_erasure(txn: WriteTransaction, digests: Collection[str], *, now_ms: int) -> None:
    """Request a compaction, which clears deleted rows from the free pages, and a sweep of these adapters."""
    waiting = read_waiting(txn) or Erased(now_ms, 0)
    give_up(txn, digests)
    txn.put(keys.ERASED_KEY, waiting._replace(models=waiting.models + 1).pack())


def give_up(txn: WriteTransaction, digests: Collection[str]) -> None:
    """Request a sweep of these adapters, which removes those that no model has."""
    for digest in digests:
        txn.put(keys.orphan(bytes.fromhex(digest)), b"")


def read_waiting(txn: ReadTransaction) -> Erased | None:
    """Return the erasures that wait for a compaction."""
    data = txn.get(keys.ERASED_KEY)
    return None if data is None else Erased.unpack(data)


def settle(txn: WriteTransaction, compacted: Erased | None) -> None:
    """Note that a compaction covered these erasures, unless others came meanwhile."""
    if compacted is not None and read_waiting(txn) == compacted:
        txn.delete(keys.ERASED_KEY)


def any_shard_of(key: bytes, shards: int) -> int:
    """Return a shard for the row of an erasure or an orphan when rows are spread anew.

    An erasure puts it into the shard of the model, which cannot be told from the row. Whoever looks for such
    rows looks in all shards.
    """
    return int.from_bytes(key[1:9], "big") % shards


def read_orphans(txn: ReadTransaction) -> list[str]:
    """Return the digests of the adapters that erased models had."""
    prefix = keys.orphans()
    return [key[len(prefix) :].hex() for key, _ in txn.scan(prefix)]


def forget_orphans(txn: WriteTransaction, digests: Collection[str]) -> None:
    """Note that these adapters were removed, or that other models have them."""
    for digest in digests:
        txn.delete(keys.orphan(bytes.fromhex(digest)))


def _key_id(txn: ReadTransaction, tenant: str, name: str) -> bytes | None:
    """Return the id of the model's data key, None if that row is lost or damaged."""
    data = txn.get(keys.data_key(tenant, name))
    try:
        return None if data is None else DataKeyRecord.unpack(data).key_id
    except RecordInvalid:
        return None


def digests_in_use(txn: ReadTransaction) -> Iterator[str]:
    """Walk the digests of the adapters that models of the shard have, one for each model that has it."""
    return (key[-32:].hex() for key, _ in txn.scan(keys.all_revisions()))
