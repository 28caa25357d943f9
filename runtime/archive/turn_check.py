"""Checks the texts in an archive's turns that only this software writes, and reads again later.

A log has JSON of ours in three places: the note of a response, what a turn says of a conversation, and what a
turn forgot. One that cannot be read would fail every request that reads its turn.
"""

from populace.actors.forgetting import CONVERSATION_ROLE, FORGET_ROLE, Forgotten
from populace.actors.turn import ModelId
from populace.api.responses import ConversationRemark, ResponseNote
from populace.api.turns import ForgottenObject
from populace.storage.records.errors import RecordInvalid
from populace.storage.records.records import InteractionRecord


def check_turn(model: ModelId, record: InteractionRecord) -> None:
    """Raise ``RecordInvalid`` for a turn with such a text that is none of ours."""
    (role, content), *_ = record.messages
    try:
        if record.note:
            ResponseNote.model_validate_json(record.note)
        if role == CONVERSATION_ROLE:
            ConversationRemark.model_validate_json(content)
        elif role == FORGET_ROLE:
            ForgottenObject.of(Forgotten.told(model, content, record.position))
    except (ValueError, TypeError, AttributeError, RecursionError):
        # Without the error's own text, which quotes a person's log.
        what = "note" if role not in (CONVERSATION_ROLE, FORGET_ROLE) else f"message of the role {role}"
        raise RecordInvalid(record.KIND, f"the {what} of turn {record.position} cannot be read") from None
