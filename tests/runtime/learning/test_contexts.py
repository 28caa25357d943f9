"""Offline, a log tells of a question what serving would tell."""

from populace.actors.engine import Message
from populace.actors.feedback import Feedback, Opinion
from populace.actors.turn import Interaction
from populace.learning.contexts import context_messages, prompt_with_context
from tests.runtime.learning.test_examples import ADA, turn

SAID = ("My dog is Bruno.", "I live in Lisbon.", "Which dog is mine?", "Bruno sleeps.")
LOG = [turn(position, Message("user", text)) for position, text in enumerate(SAID, 5)]


def positions(messages: tuple[Message, ...], log: list[Interaction] = LOG) -> list[int]:
    [system] = messages
    assert system.role == "system"
    return [one.position for one in log if one.messages[0].content in system.content]


def test_the_turns_that_fit_a_query_are_told_in_the_logs_order() -> None:
    assert positions(context_messages(LOG, [], "The name of my dog?", 2)) == [5, 7]
    assert positions(context_messages(LOG, [], "Lisbon", 16)) == [6]


def test_nothing_is_told_where_nothing_fits() -> None:
    assert context_messages(LOG, [], "zebra", 3) == ()
    assert context_messages(LOG, [], "dog", 0) == ()
    assert context_messages(LOG, [], "", 3) == ()
    assert context_messages([], [], "dog", 3) == ()


def test_feedback_counts_as_in_serving() -> None:
    feedback = [
        Feedback(ADA, 5, Opinion(thumb=False), 1),
        Feedback(ADA, 7, Opinion(correction="It is the terrier."), 1),
    ]

    [by_question] = context_messages(LOG, feedback, "dog", 3)
    [by_correction] = context_messages(LOG, feedback, "terrier", 3)

    assert by_question == by_correction
    assert "It is the terrier." in by_question.content
    assert "reply 7" not in by_question.content
    assert "My dog is Bruno." not in by_question.content


def test_a_teachers_prompt_is_told_what_it_does_not_hold_already() -> None:
    prompt = (
        Message("system", "Be brief."),
        Message("user", SAID[0]),
        Message("assistant", "reply 5"),
        Message("user", "Bruno?"),
    )

    system, *rest = prompt_with_context(LOG, [], prompt, 3)

    assert tuple(rest) == prompt[1:]
    assert system.content.startswith("Be brief.\n\n")
    assert positions((system,)) == [8]
