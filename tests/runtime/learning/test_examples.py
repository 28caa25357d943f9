"""What a log teaches: every conversation in it, but nothing of what is held out."""

from dataclasses import replace
from typing import Any

import pytest

from populace.actors.engine import Message
from populace.actors.feedback import Feedback, Opinion
from populace.actors.turn import Interaction, ModelId
from populace.learning.examples import Example, digest_of, examples_of
from populace.policies.hold_out import EVERY, is_held_out
from populace.policies.lessons import Judgement

ADA = ModelId("acme", "ada")
TURNS = 2 * EVERY
HELD_OUT = [position for position in range(TURNS) if is_held_out(position)]


def turn(position: int, *messages: Message, **fields: Any) -> Interaction:
    said: dict[str, Any] = {
        "reply": f"reply {position}",
        "conversation": "main",
        "history_turns": position,
        **fields,
    }
    return Interaction(
        model=ADA,
        position=position,
        operation=f"op-{position}",
        completion_id=f"c-{position}",
        messages=messages or (Message("user", f"asked {position}"),),
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=2,
        revision="base",
        base="b" * 64,
        memory_version=0,
        created_ms=position,
        **said,
    )


def opinion(position: int, created_ms: int = 0, **said: Any) -> Feedback:
    return Feedback(ADA, position, Opinion(**said), created_ms)


LOG = [turn(position) for position in range(TURNS)]


def contents(example: Example) -> list[str]:
    return [message.content for message in example.prompt]


def test_every_turn_is_an_example_with_what_was_thought_of_it() -> None:
    feedback = [opinion(3, 5, thumb=False), opinion(3, 2, thumb=True), opinion(9, correction="better")]

    examples = examples_of(LOG, feedback)

    assert [example.position for example in examples] == list(range(TURNS))
    assert [example.reply for example in examples] == [f"reply {position}" for position in range(TURNS)]
    judged = {example.position: example.judged for example in examples if example.judged.is_judged}
    assert judged == {3: Judgement(liked=False), 9: Judgement(correction="better")}


def test_an_example_is_asked_after_the_turns_that_the_reply_was_made_after() -> None:
    log = [
        turn(1, conversation="a", history_turns=0),
        turn(2, conversation="b", history_turns=0),
        turn(3, conversation="a", history_turns=1),
        turn(4, conversation=None, history_turns=0),
        turn(5, conversation="a", history_turns=1),
    ]
    assert not any(is_held_out(one.position) for one in log)

    prompts = {example.position: contents(example) for example in examples_of(log, [])}

    assert prompts == {
        1: ["asked 1"],
        2: ["asked 2"],
        3: ["asked 1", "reply 1", "asked 3"],
        4: ["asked 4"],
        5: ["asked 3", "reply 3", "asked 5"],
    }


def test_what_is_held_out_is_in_no_prompt_to_learn_from() -> None:
    for example in examples_of(LOG, []):
        held_out = {f"{what} {at}" for at in HELD_OUT for what in ("asked", "reply") if at < example.position}
        if example.is_held_out:
            assert example.position in HELD_OUT
            assert len(contents(example)) == 2 * example.position + 1, (
                "it is judged by all that it was made after"
            )
        else:
            assert held_out.isdisjoint(contents(example))


def test_an_example_tells_of_what_was_retrieved_for_its_reply_as_it_was_then() -> None:
    first, second, *_, last = [position for position in range(TURNS) if position not in HELD_OUT]
    log = [*LOG[:last], turn(last, conversation=None, history_turns=0, retrieved=(first, second))]
    feedback = [
        opinion(first, created_ms=last, correction="corrected before"),
        opinion(second, created_ms=last + 1, correction="corrected after"),
    ]

    system, asked = examples_of(log, feedback)[-1].prompt

    assert asked.content == f"asked {last}"
    assert "corrected before" in system.content
    assert f"- asked {second}" in system.content.splitlines()
    assert f"reply {second}" not in system.content, "its own replies are not told"
    assert "corrected after" not in system.content


def test_what_is_held_out_is_not_told_to_an_example_to_learn_from() -> None:
    [held_out, judging] = HELD_OUT
    open_, *_, taught = [position for position in range(TURNS) if position not in HELD_OUT]
    both = {"conversation": None, "history_turns": 0, "retrieved": (open_, held_out)}
    log = [turn(one.position, **both) if one.position in (judging, taught) else one for one in LOG]

    told = {example.position: example.prompt[0].content.splitlines() for example in examples_of(log, [])}

    assert f"- asked {open_}" in told[taught]
    assert f"- asked {held_out}" not in told[taught]
    assert f"- asked {held_out}" in told[judging], "it is judged by all that it was made after"


def test_a_client_that_sends_what_is_held_out_along_does_not_teach_it() -> None:
    [held_out, *_] = HELD_OUT
    after = next(position for position in range(held_out + 1, TURNS) if not is_held_out(position))
    sent = (
        Message("system", "Be brief."),
        Message("user", f"asked {held_out}"),
        Message("assistant", f"reply {held_out}"),
        Message("user", "and now"),
    )
    log = [LOG[held_out], turn(after, *sent, conversation=None, history_turns=0)]

    [_, example] = examples_of(log, [])

    assert contents(example) == ["Be brief.", "and now"]


@pytest.mark.parametrize("role", ["memory", "text"])
def test_what_is_no_conversation_is_no_example(role: str) -> None:
    assert examples_of([turn(0, Message(role, "3"))], []) == []


def test_a_turn_without_a_reply_teaches_nothing_and_is_read_by_later_ones() -> None:
    lost = turn(2, Message("user", "My dog is Rex."), reply="")
    log = [turn(1), replace(lost, finish_reason=None), turn(3)]

    first, last = examples_of(log, [])

    assert (first.position, last.position) == (1, 3)
    assert contents(last) == ["asked 1", "reply 1", "My dog is Rex.", "asked 3"]


def test_other_data_has_another_digest() -> None:
    examples = examples_of(LOG, [])
    other = examples_of(LOG, [opinion(3, thumb=True)])

    assert digest_of(examples) == digest_of(examples_of(LOG, []))
    assert len({digest_of(examples), digest_of(other), digest_of(examples[:-1]), digest_of([])}) == 4


def test_what_a_tool_returned_teaches_nothing_without_its_call() -> None:
    [held_out, *_] = HELD_OUT
    call = '[{"name": "weather", "arguments": {}}]'
    asked, returned = Message("user", "weather?"), Message("tool", "sunny")
    made = turn(held_out, asked, reply=call, conversation=None, history_turns=0)
    sent = (Message("system", "Be kind."), asked, Message("assistant", call), returned)
    answered = turn(held_out + 1, *sent, conversation=None, history_turns=0)
    first, second = [position for position in range(TURNS) if not is_held_out(position)][:2]
    log = [
        turn(first, asked, reply=call, conversation=None, history_turns=0),
        turn(second, *sent, conversation=None, history_turns=0),
    ]

    assert not is_held_out(held_out + 1)
    assert [example.position for example in examples_of([made, answered], [])] == [held_out]
    assert [example.prompt for example in examples_of(log, [])] == [(asked,), sent]
