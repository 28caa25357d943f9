"""What says nothing is refused, for a model or the base alike."""

import pytest

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.turn import RAW_ROLE
from populace.actors.turns.requests import check_messages

BRIEF = Message("system", "Be brief.")


@pytest.mark.parametrize(
    "messages",
    [
        (Message("user", ""),),
        (Message("user", " \n\t\u3000"),),
        (BRIEF, Message("user", "")),
        (BRIEF, Message("user", "  ")),
        (Message("system", " "),),
    ],
)
def test_messages_that_say_nothing_are_refused(messages: tuple[Message, ...]) -> None:
    with pytest.raises(InvalidRequest, match="nothing to answer") as refused:
        check_messages(messages)

    assert refused.value.parameter == "messages"


@pytest.mark.parametrize(
    "messages",
    [
        (BRIEF,),
        (BRIEF, Message("user", "Hello.")),
        (Message("user", "Hello."), Message("user", "")),
        (Message(RAW_ROLE, "\n"),),
    ],
)
def test_whatever_else_is_answered(messages: tuple[Message, ...]) -> None:
    check_messages(messages)
