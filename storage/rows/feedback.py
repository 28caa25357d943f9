"""Feedback on interactions: rows beside the log, which itself does not change.

It is counted with the log's bytes and is dropped with the interactions that it is about. A row of its own
marks a model with unhandled feedback, so that a trainer need not look at every model.
"""

from collections.abc import Iterator

from populace.storage.records import keys
from populace.storage.records.errors import (
    FeedbackFull,
    InteractionForgotten,
    InteractionNotFound,
    OperationConflict,
)
from populace.storage.records.records import FeedbackRecord, InteractionRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import known, log

FEEDBACK_MAX = 16
"""The limit for one interaction: people change their mind, but a client that repeats itself has a bug."""

LOOKED_BACK_MAX = 1000
"""At most this many interactions are searched for a completion id: up to 20 ms."""


def give_feedback(txn: WriteTransaction, tenant: str, name: str, record: FeedbackRecord) -> FeedbackRecord:
    """Attach the feedback to its interaction, or return what its operation id attached before.

    It is returned as it is kept: later than all feedback on the interaction, whatever the clock says, since
    the newest counts.

    Raises ``ModelNotFound``, ``InteractionNotFound``, ``InteractionForgotten``, ``OperationConflict`` (same
    id, other body) and ``FeedbackFull``.
    """
    head = log.counted_head(txn, tenant, name)
    if not head.log_start <= record.position < head.log_position:
        raise InteractionNotFound(name, str(record.position))
    about = txn.get(keys.interaction(tenant, name, record.position))
    if about is not None and InteractionRecord.unpack(about).forgotten is not None:
        raise InteractionForgotten(name, record.position)
    key = keys.feedback(tenant, name, record.position, record.operation)
    found = txn.get(key)
    if found is not None:
        given = FeedbackRecord.unpack(found)
        if given.body_hash != record.body_hash:
            raise OperationConflict(record.operation)
        return given
    before = read_feedback_on(txn, tenant, name, record.position)
    if len(before) >= FEEDBACK_MAX:
        raise FeedbackFull(name, record.position, FEEDBACK_MAX)
    created_ms = max([record.created_ms, *(given.created_ms + 1 for given in before)])
    record = record.model_copy(update={"created_ms": created_ms})
    data = record.pack()
    assert head.log_bytes is not None, "counted_head counts them"
    counted = head.model_copy(update={"log_bytes": head.log_bytes + len(data)})
    txn.put(keys.head(tenant, name), counted.pack())
    txn.put(key, data)
    txn.put(keys.unsettled(tenant, name), b"")
    if record.correction is not None:
        known.drop_all(txn, tenant, name)
    return record


def walk_feedback(txn: ReadTransaction, tenant: str, name: str, start: int = 0) -> Iterator[FeedbackRecord]:
    """Walk the feedback on the interactions from ``start`` on, by position. Write nothing meanwhile."""
    # Longer than the hash of any operation, so it sorts after all feedback on the position before.
    after = None if start <= 0 else keys.feedback_on(tenant, name, start - 1) + b"\xff" * 32
    for _, data in txn.scan(keys.all_feedback(tenant, name), after=after):
        yield FeedbackRecord.unpack(data)


def read_feedback_on(txn: ReadTransaction, tenant: str, name: str, position: int) -> list[FeedbackRecord]:
    """Return the feedback on one interaction, in arbitrary order."""
    return [FeedbackRecord.unpack(data) for _, data in txn.scan(keys.feedback_on(tenant, name, position))]


def find_position(txn: ReadTransaction, tenant: str, name: str, completion_id: str) -> int:
    """Return the position of the interaction with this completion id, if it is among the newest.

    Raises ``ModelNotFound`` and ``InteractionNotFound``.
    """
    head = log.counted_head(txn, tenant, name)
    oldest = max(head.log_start, head.log_position - LOOKED_BACK_MAX)
    for position in reversed(range(oldest, head.log_position)):
        data = txn.get(keys.interaction(tenant, name, position))
        if data is not None and InteractionRecord.unpack(data).completion_id == completion_id:
            return position
    raise InteractionNotFound(name, completion_id)
