"""Drops the old end of a log: expired interactions go, and a snapshot keeps their fold.

::

    [0, log_start)                 dropped; its fold is the snapshot
    [log_start, operations_start)  kept; its operation ids are free again
    [operations_start, position)   kept, and its operation ids too

Feedback on an interaction is dropped with it and counts with its bytes.

The state of a model remains the fold of its log: ``fold(snapshot, log[log_start:])``. The chain
continues over the gap, as the head keeps the digest that the first kept interaction contains.
The bytes of dropped interactions stay in free pages of the file until these are reused.
"""

from collections.abc import Iterator
from typing import NamedTuple

from populace.storage.records import keys
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.records import (
    HeadRecord,
    InteractionRecord,
    MemoryRecord,
    OperationRecord,
    SnapshotRecord,
)
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import known, ledger
from populace.storage.rows.ledger import StoredModel


class LoggedInteraction(NamedTuple):
    """An interaction with its bytes on disk; ``bytes_kept`` counts those and the feedback's."""

    record: InteractionRecord
    data: bytes
    bytes_kept: int


def withdraw_turn(txn: WriteTransaction, tenant: str, name: str, operation: str, body_hash: bytes) -> None:
    """Take back the message of a turn that was refused, and what it told; see ``ledger.withdraw_turn``."""
    position = ledger.withdraw_turn(txn, tenant, name, operation, body_hash)
    if position is not None:
        known.drop_of(txn, tenant, name, (position,))


def prune_operations(
    txn: WriteTransaction, tenant: str, name: str, *, now_ms: int, limit: int | None = None
) -> HeadRecord:
    """Forget expired operation ids, oldest turns first, up to the first that has not expired.

    Reads up to ``limit`` interactions and returns the new head. Raises ``ModelNotFound``.
    """
    head = counted_head(txn, tenant, name)
    expired, position = _expired_operations(txn, tenant, name, head, now_ms, limit)
    if position == head.operations_start:
        return head
    pruned = head.model_copy(update={"operations_start": position})
    txn.put(keys.head(tenant, name), pruned.pack())
    for key in expired:
        txn.delete(key)
    return pruned


def compact_log(
    txn: WriteTransaction, tenant: str, name: str, keep_from: int, *, memory: MemoryRecord | None
) -> HeadRecord:
    """Drop the interactions below ``keep_from`` and keep their fold: all or nothing.

    ``memory`` is the memory state after ``[0, keep_from)``, None if the model had none by then.
    An operation id that is kept pins its interaction, because a retry must still find the first
    reply: ``keep_from`` is at most ``operations_start``. Returns the new head.

    Raises ``ModelNotFound``, and ``RecordInvalid`` for a log that is damaged where it would be cut.
    """
    head = counted_head(txn, tenant, name)
    assert head.log_start <= keep_from <= head.operations_start, (keep_from, head)
    version = 0 if memory is None else memory.version
    assert version == _memory_version(txn, tenant, name, head, keep_from), (version, keep_from)
    if keep_from == head.log_start:
        return head

    prefix, count = keys.interactions(tenant, name), keep_from - head.log_start
    dropped, bytes_dropped, chain = list[bytes](), 0, head.start_chain
    for key, data in txn.scan(prefix, limit=count):
        dropped.append(key)
        bytes_dropped += len(data)
        chain = ledger.chain_digest(data)
    feedback = list(feedback_below(txn, tenant, name, keep_from))
    bytes_dropped += sum(len(data) for _, data in feedback)
    if dropped[-1:] != [keys.interaction(tenant, name, keep_from - 1)]:
        raise RecordInvalid("interaction", f"there is a gap before position {keep_from}")
    if chain != _previous(txn, tenant, name, head, keep_from):
        raise RecordInvalid("interaction", f"the chain breaks at position {keep_from}")

    assert head.log_bytes is not None, "counted_head counts them"
    compacted = head.model_copy(
        update={
            "log_start": keep_from,
            "log_bytes": head.log_bytes - bytes_dropped,
            "start_chain": chain,
        }
    )
    snapshot = SnapshotRecord(
        position=keep_from,
        chain=chain,
        memory_version=version,
        memory=None if memory is None else memory.payload,
    )
    txn.put(keys.head(tenant, name), compacted.pack())
    txn.put(keys.snapshot(tenant, name), snapshot.pack())
    for key in (*dropped, *(key for key, _ in feedback)):
        txn.delete(key)
    known.drop_of(txn, tenant, name, range(keep_from))
    return compacted


def read_snapshot(txn: ReadTransaction, tenant: str, name: str) -> SnapshotRecord | None:
    """Return the fold of the dropped part of the log; None if nothing was dropped."""
    data = txn.get(keys.snapshot(tenant, name))
    return None if data is None else SnapshotRecord.unpack(data)


def stored_memory(txn: ReadTransaction, model: StoredModel, position: int) -> tuple[int, MemoryRecord | None]:
    """Return the newest position up to ``position`` whose memory state is stored, and that state.

    Stored are the state of a model without memory, its present one, those that interactions keep and
    that of its snapshot. Those in between have to be replayed from the log, which takes an engine.
    """
    head, (tenant, name) = model.head, (model.identity.tenant, model.identity.name)
    while position > head.log_start:
        data = txn.get(keys.interaction(tenant, name, position))
        served = None if data is None else InteractionRecord.unpack(data)
        version = head.memory_version if served is None else served.memory_version
        if version == 0:
            return position, None
        if version == head.memory_version:
            return position, model.memory
        if served is not None and served.memory is not None:
            return position, MemoryRecord(version=version, payload=served.memory)
        position -= 1
    snapshot = read_snapshot(txn, tenant, name)
    if snapshot is None or snapshot.memory is None:
        return position, None
    return position, MemoryRecord(version=snapshot.memory_version, payload=snapshot.memory)


def walk_log(txn: ReadTransaction, tenant: str, name: str, start: int) -> Iterator[LoggedInteraction]:
    """Walk the kept interactions at and after ``start``. Nothing may be written meanwhile."""
    before = keys.interaction(tenant, name, start - 1) if start > 0 else None
    for _, data in txn.scan(keys.interactions(tenant, name), after=before):
        record = InteractionRecord.unpack(data)
        feedback = txn.scan(keys.feedback_on(tenant, name, record.position))
        yield LoggedInteraction(record, data, len(data) + sum(len(value) for _, value in feedback))


def feedback_below(
    txn: ReadTransaction, tenant: str, name: str, position: int
) -> Iterator[tuple[bytes, bytes]]:
    """Walk the rows of feedback on the interactions before ``position``."""
    end = keys.feedback_on(tenant, name, position)
    for key, data in txn.scan(keys.all_feedback(tenant, name)):
        if key >= end:
            return
        yield key, data


def counted_head(txn: ReadTransaction, tenant: str, name: str) -> HeadRecord:
    """Return the head with its ``log_bytes``, counted now if an older release wrote it."""
    head = ledger.read_head(txn, tenant, name)
    if head.log_bytes is not None:
        return head
    prefixes = keys.interactions(tenant, name), keys.all_feedback(tenant, name)
    log_bytes = sum(len(data) for prefix in prefixes for _, data in txn.scan(prefix))
    return head.model_copy(update={"log_bytes": log_bytes})


def _expired_operations(
    txn: ReadTransaction, tenant: str, name: str, head: HeadRecord, now_ms: int, limit: int | None
) -> tuple[list[bytes], int]:
    """Return the keys to delete, and the position of the first operation that stays."""
    expired: list[bytes] = []
    position = head.operations_start
    for interaction, _, _ in walk_log(txn, tenant, name, position):
        if limit is not None and position - head.operations_start >= limit:
            break
        key = ledger.operation_key(tenant, name, interaction)
        data = txn.get(key)
        operation = None if data is None else OperationRecord.unpack(data)
        # An id that was used again after its expiry belongs to its later position.
        if operation is not None and operation.position == position:
            if operation.expires_ms > now_ms:
                break
            expired.append(key)
        position += 1
    return expired, position


def _memory_version(txn: ReadTransaction, tenant: str, name: str, head: HeadRecord, position: int) -> int:
    """Return the version of the memory state after ``[0, position)``: the next turn was served with it."""
    data = txn.get(keys.interaction(tenant, name, position))
    return head.memory_version if data is None else InteractionRecord.unpack(data).memory_version


def _previous(txn: ReadTransaction, tenant: str, name: str, head: HeadRecord, position: int) -> bytes:
    """Return the chain digest of the interaction before ``position``."""
    data = txn.get(keys.interaction(tenant, name, position))
    return head.chain if data is None else InteractionRecord.unpack(data).previous
