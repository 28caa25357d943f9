"""The trainings that are kept after their jobs: a row for each revision that one can be continued from.

The row has the only key of the session's file (``storage/training/sessions.py``). It is put in the
transaction that promotes the revision, and goes with the revision, so that the file of an erased model, or of
a revision that learned from what was forgotten, cannot be opened any more. A file without a row is removed by
the trainer's sweep, and a row without a file by ``let_go``.
"""

from collections.abc import Iterator
from typing import NamedTuple

from populace.storage.records import keys
from populace.storage.records.record import Record
from populace.storage.records.transaction import ReadTransaction, WriteTransaction


class KeptRecord(Record):
    """The training of a promoted revision is kept: ``key`` names and opens the file of its session."""

    KIND = "kept"

    key: bytes


class KeptRow(NamedTuple):
    """The model and the digest of a revision whose training is kept, and the key of its file."""

    tenant: str
    name: str
    digest: str
    key: bytes


def put_kept(txn: WriteTransaction, tenant: str, name: str, digest: str, key: bytes) -> None:
    """Keep the training of a revision; one that was kept for it before is replaced."""
    txn.put(keys.kept(tenant, name, digest), KeptRecord(key=key).pack())


def is_kept(txn: ReadTransaction, tenant: str, name: str, digest: str) -> bool:
    return txn.get(keys.kept(tenant, name, digest)) is not None


def walk_kept(txn: ReadTransaction) -> Iterator[KeptRow]:
    """Walk the kept trainings of the shard, by model."""
    for row, data in txn.scan(keys.all_kept()):
        yield KeptRow(*keys.model_of(row), row[-32:].hex(), KeptRecord.unpack(data).key)


def let_go(txn: WriteTransaction, tenant: str, name: str, digest: str, key: bytes) -> None:
    """Remove the row of a training whose file is gone, unless it has another key by now."""
    row = keys.kept(tenant, name, digest)
    data = txn.get(row)
    if data is not None and KeptRecord.unpack(data).key == key:
        txn.delete(row)


def drop_kept(txn: WriteTransaction, tenant: str, name: str, digest: str) -> None:
    """Remove the row with its revision, so that the file cannot be opened any more."""
    txn.delete(keys.kept(tenant, name, digest))
