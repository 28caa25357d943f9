"""The owner of a shard, and how long it was served, as rows of the shard itself.

The rows' layout is in ``storage/records/keys.py``. Only the place of the schema number and of the
epoch is fixed for all releases, so that an older release can refuse a newer shard and a newer
owner can fence an older one.
"""

import struct

from populace.storage.records import keys
from populace.storage.records.errors import StoreInvalid, StoreVersionMismatch
from populace.storage.records.transaction import ReadTransaction, WriteTransaction

_EPOCH = struct.Struct(">Q")
_SHARD = struct.Struct(">III")
_SERVED = struct.Struct(">q")


def write_header(txn: WriteTransaction, number: int, shard_count: int) -> None:
    """Write which shard this is, which every environment says before its first owner."""
    txn.put(keys.SHARD_KEY, _SHARD.pack(keys.SCHEMA, number, shard_count))


def check_header(txn: ReadTransaction, path: str, number: int, shard_count: int) -> int:
    """Check that the environment is that of this shard, and return its schema.

    Raises ``StoreVersionMismatch`` for a newer schema and ``StoreInvalid`` for the environment of another
    shard or of another program.
    """
    header = txn.get(keys.SHARD_KEY)
    if header is None:
        raise StoreInvalid(path, "it has no shard header")
    schema = int.from_bytes(header[:4], "big")
    if schema > keys.SCHEMA:
        raise StoreVersionMismatch(path, schema, keys.SCHEMA)
    if header != _SHARD.pack(schema, number, shard_count):
        raise StoreInvalid(path, f"it is not shard {number} of {shard_count}")
    return schema


def take_ownership(txn: WriteTransaction, path: str, number: int, shard_count: int, owner: str) -> int:
    """Write the next epoch and return it; a shard of an older schema gets this release's schema number.

    Raises as ``check_header`` does.
    """
    schema = check_header(txn, path, number, shard_count)
    epoch = stored_epoch(txn) + 1
    if schema < keys.SCHEMA:
        write_header(txn, number, shard_count)
    txn.put(*epoch_row(epoch, owner))
    return epoch


def epoch_row(epoch: int, owner: str) -> tuple[bytes, bytes]:
    """Return the row that says who the newest owner is."""
    return keys.EPOCH_KEY, _EPOCH.pack(epoch) + owner.encode()


def stored_epoch(txn: ReadTransaction) -> int:
    """Return the epoch of the newest owner, 0 before the first."""
    stored = txn.get(keys.EPOCH_KEY)
    return 0 if stored is None else int.from_bytes(stored[: _EPOCH.size], "big")


def stored_owner(txn: ReadTransaction) -> str | None:
    """Return the name that the newest owner gave itself, None before the first."""
    stored = txn.get(keys.EPOCH_KEY)
    return None if stored is None else stored[_EPOCH.size :].decode()


def stored_served_ms(txn: ReadTransaction) -> int | None:
    """Return until when the shard was served, in the time that retention counts; None before a write."""
    stored = txn.get(keys.SERVED_KEY)
    return None if stored is None else _SERVED.unpack(stored)[0]


def store_served_ms(txn: WriteTransaction, now_ms: int) -> None:
    txn.put(*served_row(now_ms))


def served_row(now_ms: int) -> tuple[bytes, bytes]:
    """Return the row that says until when the shard was served."""
    return keys.SERVED_KEY, _SERVED.pack(now_ms)
