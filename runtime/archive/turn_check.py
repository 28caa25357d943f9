"""Checks the texts in an archive's turns that only this software writes, and reads again later.

They are the note of a response, what a turn says of a conversation, what a turn forgot, and to which position
one set the memory. One that cannot be read would fail every request that reads its turn.
"""

from populace.actors.forgetting import CONVERSATION_ROLE, FORGET_ROLE, SAID_ROLES, Forgotten
from populace.actors.memory import MEMORY_ROLE, restored
from populace.actors.turn import ModelId
from populace.api.responses import ConversationRemark, ResponseNote
from populace.api.turns import ForgottenObject
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.records import InteractionRecord


def check_turn(model: ModelId, record: InteractionRecord) -> None:
    """Raise ``RecordInvalid`` for a turn with such a text that is none of ours."""
    try:
        _read(model, record)
    except (ValueError, TypeError, AttributeError, RecursionError):
        # Without the error's own text, which quotes a person's log.
        role = record.messages[0][0]
        what = f"message of the role {role}" if role in SAID_ROLES else "note"
        raise RecordInvalid(record.KIND, f"the {what} of turn {record.position} cannot be read") from None


def _read(model: ModelId, record: InteractionRecord) -> None:
    (role, content), *_ = record.messages
    if record.note:
        ResponseNote.model_validate_json(record.note)
    if role == CONVERSATION_ROLE:
        ConversationRemark.model_validate_json(content)
    elif role == FORGET_ROLE:
        ForgottenObject.of(Forgotten.told(model, content, record.position))
    elif role == MEMORY_ROLE and (restored(content) or 0) > record.position:
        raise ValueError("it names a later position")
