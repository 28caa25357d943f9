"""An empty memory that knows the earlier turns of its model: they must not be written into it again."""

from dataclasses import replace

from populace.actors.errors import MemoryStateInvalid
from populace.actors.memory import Memory
from populace.actors.turn import ModelId
from populace.policies.ingestion import TURNS_KNOWN_MAX, turn_digest
from populace.storage.records.records import InteractionRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import ledger


def emptied(txn: ReadTransaction, model: ModelId, payload: bytes | None) -> Memory:
    """Empty the model's packed memory, also one that cannot be read: its turns are then those of the log.

    Raises ``ModelNotFound``.
    """
    try:
        return replace(Memory.unpack(payload), state=None)
    except MemoryStateInvalid:
        start = max(0, ledger.read_head(txn, *model).log_position - TURNS_KNOWN_MAX)
        records = ledger.read_log(txn, *model, start=start, limit=TURNS_KNOWN_MAX)
        return Memory(turns=tuple(map(logged_digest, records)))


def logged_digest(record: InteractionRecord) -> bytes:
    """Return the digest of a turn in the log, also if it was forgotten."""
    if record.forgotten is not None:
        return record.forgotten[1]
    return turn_digest(record.messages, record.reply)
