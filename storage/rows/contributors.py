"""Rows of the models that the community of their tenant may learn from.

A model contributes only if its owner agreed. One that withdraws keeps its row with its id, by which its owner
still finds out which revisions learned from it; the row goes with the model.
"""

from collections.abc import Iterator

from populace.storage.records import keys
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.record import Record
from populace.storage.records.transaction import ReadTransaction, WriteTransaction


class ContributorRecord(Record):
    """Whether the tenant's community may learn from this model's log, as was said at ``since_ms``.

    ``id`` is random: revisions that learned from the log name it, and nothing else does once the model is
    erased.
    """

    KIND = "contributor"

    id: bytes
    agrees: bool
    since_ms: int


def set_consent(
    txn: WriteTransaction, tenant: str, name: str, *, agrees: bool, new_id: bytes, now_ms: int
) -> ContributorRecord | None:
    """Note whether the model may be learned from, and return its row; None if it never agreed.

    Nothing changes, nor does the time since when, if the same was said before. ``new_id`` is the id of a
    model that agrees for the first time. Raises ``ModelNotFound``.
    """
    known = read_contributor(txn, tenant, name)
    if agrees == (known is not None and known.agrees):
        return known
    record = ContributorRecord(id=new_id if known is None else known.id, agrees=agrees, since_ms=now_ms)
    txn.put(keys.contributor(tenant, name), record.pack())
    return record


def read_contributor(txn: ReadTransaction, tenant: str, name: str) -> ContributorRecord | None:
    """Return what was said of the model, None if it never agreed. Raises ``ModelNotFound``."""
    if keys.name_problem(name) or txn.get(keys.identity(tenant, name)) is None:
        raise ModelNotFound(name)
    return _read(txn, tenant, name)


def walk_contributors(txn: ReadTransaction, tenant: str) -> Iterator[tuple[str, ContributorRecord]]:
    """Walk those of the tenant's models in the shard that agree now, by name."""
    for key, data in txn.scan(keys.contributors(tenant)):
        record = ContributorRecord.unpack(data)
        if record.agrees:
            yield keys.model_of(key)[1], record


def _read(txn: ReadTransaction, tenant: str, name: str) -> ContributorRecord | None:
    data = txn.get(keys.contributor(tenant, name))
    return None if data is None else ContributorRecord.unpack(data)
