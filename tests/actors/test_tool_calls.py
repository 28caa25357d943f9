"""Calls as text, in the prompt and in the log, and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.tool_calls import Said, ToolCall, call_id, calls_in, messages_of, said_of, with_calls

COMPLETION = "chatcmpl-" + "a" * 32
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
OBJECTS = st.dictionaries(TEXTS, st.recursive(TEXTS | st.integers() | st.booleans(), st.lists, max_leaves=4))
ARGUMENTS = st.one_of(OBJECTS.map(json.dumps), OBJECTS.map(lambda value: json.dumps(value, indent=2)), TEXTS)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
CALLS = st.lists(st.tuples(NAMES, ARGUMENTS), min_size=1, max_size=4)


def call(number: int, name: str = "weather", arguments: str = "{}") -> ToolCall:
    return ToolCall(call_id(COMPLETION, 0, number), name, arguments)


def result(answers: str | None, content: str = "sunny") -> Said:
    return Said("tool", content, answers=answers)


@given(content=st.sampled_from(["", "I look.", "a\n[b"]), calls=CALLS)
def test_what_is_written_is_read_again(content: str, calls: list[tuple[str, str]]) -> None:
    made = [call(number, *one) for number, one in enumerate(calls)]

    text = with_calls(content, made)
    read, found = calls_in(text, COMPLETION)

    assert read == content
    assert [one.name for one in found] == [name for name, _ in calls]
    assert with_calls(read, found) == text
    for one, (_, arguments) in zip(found, calls, strict=True):
        assert _value(one.arguments) == _value(arguments)


def _value(arguments: str) -> Any:
    try:
        return json.loads(arguments, parse_constant=str)  # NaN is none, not even its own equal
    except ValueError:
        return arguments


@pytest.mark.parametrize(
    "sent",
    [
        '{"city":"Pa, r:is","days":[1,2e5]}',
        '{"city": "Pa, r:is", "days": [1, 2e5]}',
        '{\n "city" :"Pa, r:is" ,"days":[ 1,2e5]}',
    ],
)
def test_white_space_that_a_client_changed_does_not_make_another_call(sent: str) -> None:
    assert with_calls("", [call(0, arguments=sent)]) == (
        '[{"name": "weather", "arguments": {"city": "Pa, r:is", "days": [1, 2e5]}}]'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello",
        "[]",
        '[{"name": "a"}]',
        '[{"name": "a", "arguments": {"x": 1',
        '[{"name": "a", "arguments": {}}] and more',
        '[{"name": "é", "arguments": {}}]',
    ],
)
def test_a_text_that_is_no_call_is_none(text: str) -> None:
    assert calls_in(text) == (text, ())


def test_an_id_is_as_short_as_other_servers_want_it() -> None:
    assert len(call_id(COMPLETION, 15, 15)) <= 40
    assert call_id(COMPLETION, 0, 1) != call_id(COMPLETION, 1, 0)


def test_results_stand_in_the_order_of_their_calls() -> None:
    calls = (call(0), call(1), call(2))

    read = messages_of(
        [
            Said("user", "weather?"),
            Said("assistant", "", calls),
            result(calls[2].id, "rain"),
            result(calls[0].id, "sun"),
            Said("user", "and?"),
            result(calls[1].id, "snow"),
        ]
    )

    assert [message.content for message in read if message.role == "tool"] == ["sun", "rain", "snow"]
    assert [message.role for message in read] == ["user", "assistant", "tool", "tool", "user", "tool"]


@pytest.mark.parametrize(
    ("said", "parameter"),
    [
        ([result("x")], "messages[0].tool_call_id"),
        ([result(None)], "messages[0].tool_call_id"),
        ([Said("assistant", "", (call(0),)), result(call(1).id)], "messages[1].tool_call_id"),
        (
            [Said("assistant", "", (call(0),)), result(call(0).id), result(call(0).id)],
            "messages[2].tool_call_id",
        ),
        ([result(call(0).id), Said("assistant", "", (call(0),))], "messages[0].tool_call_id"),
        ([Said("assistant", "", (call(0), call(0)))], "messages[0].tool_calls"),
    ],
)
def test_a_result_without_its_call_is_refused(said: list[Said], parameter: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        messages_of(said)

    assert raised.value.parameter == parameter


def test_ids_may_be_used_again_in_a_later_message() -> None:
    asked = [Said("assistant", "", (call(0),)), result(call(0).id)]

    assert len(messages_of(asked * 2)) == 4


@given(
    st.lists(
        st.one_of(
            st.builds(Message, st.sampled_from(["user", "system", "assistant"]), TEXTS),
            CALLS.map(lambda calls: Message("assistant", with_calls("", [call(0, *one) for one in calls]))),
        ),
        max_size=6,
    ),
    st.integers(0, 2),
)
def test_messages_that_are_sent_again_are_the_same(messages: list[Message], results: int) -> None:
    last = calls_in(messages[-1].content)[1] if messages and messages[-1].role == "assistant" else ()
    messages += [Message("tool", f"result {number}") for number in range(min(results, len(last)))]

    assert messages_of(said_of(messages)) == tuple(messages)
