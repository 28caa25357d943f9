"""Offline, a log tells of a question what serving would tell."""

from populace.actors.engine import Message
from populace.actors.feedback import Feedback, Opinion
from populace.actors.turn import Interaction
from populace.learning.contexts import context_for
from tests.runtime.learning.test_examples import ADA, turn

SAID = ("My dog is Bruno.", "I live in Lisbon.", "Which dog is mine?", "Bruno sleeps.")
LOG = [turn(position, Message("user", text)) for position, text in enumerate(SAID, 5)]


def positions(text: str, log: list[Interaction] = LOG) -> list[int]:
    return [one.position for one in log if one.messages[0].content in text]


def test_the_turns_that_fit_a_query_are_told_in_the_logs_order() -> None:
    assert positions(context_for(LOG, [], "The name of my dog, Bruno?", 2)) == [5, 8]
    assert positions(context_for(LOG, [], "Lisbon", 16)) == [6]


def test_a_question_that_was_not_corrected_tells_nothing() -> None:
    assert positions(context_for(LOG, [], "Which dog is mine?", 3)) == [5]


def test_nothing_is_told_where_nothing_fits() -> None:
    assert context_for(LOG, [], "zebra", 3) == ""
    assert context_for(LOG, [], "dog", 0) == ""
    assert context_for(LOG, [], "", 3) == ""
    assert context_for([], [], "dog", 3) == ""


def test_feedback_counts_as_in_serving() -> None:
    feedback = [
        Feedback(ADA, 5, Opinion(thumb=False), 1),
        Feedback(ADA, 7, Opinion(correction="It is the terrier."), 1),
    ]

    by_question = context_for(LOG, feedback, "dog", 3)
    by_correction = context_for(LOG, feedback, "terrier", 3)

    assert "It is the terrier." in by_question
    assert "It is the terrier." in by_correction
    assert "reply 7" not in by_question
    assert "My dog is Bruno." in by_question, "who dislikes a reply does not take back what they said"
