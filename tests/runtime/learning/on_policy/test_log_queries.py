"""A question of the log is taught with what else in the log helps, and with nothing that judges."""

import pytest

from populace.actors.engine import Message
from populace.actors.errors import NothingToTrain
from populace.actors.feedback import Feedback, Opinion
from populace.actors.turn import Interaction, ModelId
from populace.engines.prompts import BaseTokenizer
from populace.learning.examples import examples_of
from populace.learning.on_policy.log_queries import log_queries
from populace.learning.on_policy.tasks import ContextQuery
from populace.policies.hold_out import is_held_out

MODEL = ModelId("acme", "ada")
PETS = ("dog", "cat", "horse", "snake", "mouse", "goose", "sheep", "whale")


def turn(position: int, asked: str, said: str) -> Interaction:
    return Interaction(
        model=MODEL,
        position=position,
        operation=f"op-{position}",
        completion_id=f"c-{position}",
        messages=(Message("user", asked),),
        reply=said,
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=2,
        revision="base",
        base="b" * 64,
        memory_version=0,
        created_ms=position,
        conversation=None,
        history_turns=0,
    )


LOG = [turn(position, f"Who is my {pet}?", f"I forgot {pet}.") for position, pet in enumerate(PETS)]
GIVEN = [
    Feedback(MODEL, position, Opinion(correction=f"The {pet} is Bruno-{position}."), 1)
    for position, pet in enumerate(PETS)
]


def queries(
    tokenizer: BaseTokenizer, log: list[Interaction], given: list[Feedback], tokens_max: int = 400
) -> list[ContextQuery]:
    examples = examples_of(log, given)
    return log_queries("ada", log, given, examples, tokenizer, retrieve=2, tokens_max=tokens_max)


def test_the_teacher_reads_what_was_corrected_and_nothing_that_is_held_out(tokenizer: BaseTokenizer) -> None:
    made = queries(tokenizer, LOG, GIVEN)

    taught = [position for position in range(len(PETS)) if not is_held_out(position)]
    assert [query.prompt[-1].content for query in made] == [f"Who is my {PETS[at]}?" for at in taught]
    for position, query in zip(taught, made, strict=True):
        assert f"Bruno-{position}." in query.context
        assert all(f"Bruno-{at}." not in query.context for at in range(len(PETS)) if is_held_out(at))
        assert all("Bruno" not in message.content for message in query.prompt), "the student reads none of it"


def test_a_question_without_room_for_its_context_is_left_out(tokenizer: BaseTokenizer) -> None:
    with pytest.raises(NothingToTrain, match="matches any of its 8 questions"):
        queries(tokenizer, LOG, GIVEN, tokens_max=10)


def test_a_log_that_nobody_corrected_or_liked_helps_only_with_what_it_says(tokenizer: BaseTokenizer) -> None:
    disliked = [Feedback(MODEL, position, Opinion(thumb=False), 1) for position in range(len(PETS))]

    with pytest.raises(NothingToTrain):
        queries(tokenizer, LOG, disliked)
    with pytest.raises(NothingToTrain):
        queries(tokenizer, [], [])
