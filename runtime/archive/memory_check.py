"""Checks the memories in an archive: one that no engine could read would fail every request of its person."""

from populace.actors.errors import MemoryStateInvalid
from populace.actors.memory import Memory
from populace.adapters.memory.state import StateFormat
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.records import InteractionRecord


def check_memory(payload: bytes | None, served: StateFormat | None, kind: str, where: str = "") -> None:
    """Raise ``RecordInvalid``, of ``kind``, for a memory that cannot be used. ``where`` it is says the error.

    ``served`` is the format of the states of the memory module that is served here. A state of another module
    has to be one of its own format: it waits until that module is served, or until it is emptied.
    """
    try:
        state = Memory.unpack(payload).state
        if state is not None:
            written = StateFormat.of(state)
            if served is not None and served.module == written.module:
                written = served
            written.unpack(state)
    except MemoryStateInvalid as error:
        raise RecordInvalid(kind, f"the memory state{where} cannot be used: {error.reason}") from None


def check_turn_memories(record: InteractionRecord, served: StateFormat | None) -> None:
    """Check the memories that a turn keeps, as ``check_memory`` does."""
    for payload in (record.memory, record.memory_after):
        check_memory(payload, served, record.KIND, f" of turn {record.position}")
