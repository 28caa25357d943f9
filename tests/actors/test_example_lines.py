"""A file to learn from is read line by line, and the first line that is wrong is named with its number."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from populace.actors import example_lines
from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.example_lines import LINES_MIN, ExampleLine, read_examples, read_tasks

USER, REPLY = {"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}
CHAT: dict[str, Any] = {"messages": [USER, REPLY]}
PAIR: dict[str, Any] = {
    "input": {"messages": [USER]},
    "preferred_output": [REPLY],
    "non_preferred_output": [{"role": "assistant", "content": "No."}],
}


def file_of(*lines: Any, end: str = "\n") -> Iterator[bytes]:
    """A file that arrives in pieces of seven bytes."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + end for line in lines).encode()
    return (text[at : at + 7] for at in range(0, len(text), 7))


def test_every_reply_to_a_user_is_an_example_unless_its_weight_is_0() -> None:
    line = {
        "messages": [
            {"role": "developer", "content": "Be short."},
            {"role": "assistant", "content": "Welcome."},
            USER,
            {**REPLY, "weight": 0},
            {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": " now?"}]},
            {"role": "assistant", "content": "Bye.", "weight": 1, "name": "ada"},
        ]
    }

    *_, example = read_examples(file_of(*[CHAT] * (LINES_MIN - 1), line), "sft", "training_file")

    assert example == ExampleLine(
        LINES_MIN,
        (
            Message("system", "Be short."),
            Message("assistant", "Welcome."),
            Message("user", "Hello?"),
            Message("assistant", "Hi."),
            Message("user", "And now?"),
        ),
        "Bye.",
    )


def test_a_recorded_chat_may_have_fields_that_are_empty() -> None:
    empty: dict[str, Any] = {
        "refusal": None,
        "tool_calls": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
    }
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Hello?", "annotations": []}]
    chat: dict[str, Any] = {
        "messages": [{**USER, "content": parts, "name": None}, {**REPLY, **empty}],
        "tools": [],
    }
    pair = {**PAIR, "preferred_output": [{**REPLY, **empty}]}

    [said] = read_examples(file_of(chat), "sft", "training_file", least=1)
    [chosen] = read_examples(file_of(pair), "preference", "training_file", least=1)

    assert said == ExampleLine(1, (Message("user", "Hello?"),), "Hi.")
    assert chosen.reply == "Hi."


def test_a_refusal_is_what_was_said_and_a_mark_of_the_byte_order_is_nothing() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    line = {"messages": [USER, refused], "parallel_tool_calls": False}
    content = b"\xef\xbb\xbf" + b"".join(file_of(line))

    [said] = read_examples([content], "sft", "training_file", least=1)

    assert said.reply == "No."


def test_a_pair_is_the_preferred_reply_and_the_rejected_one() -> None:
    examples = read_examples(file_of(PAIR, PAIR), "preference", "training_file", least=2)

    assert examples[1] == ExampleLine(2, (Message("user", "Hello?"),), "Hi.", "No.")


def test_blank_lines_are_skipped_and_count_and_a_last_line_needs_no_end() -> None:
    examples = read_examples(file_of("", CHAT, "  \r", CHAT, end="\n"), "sft", "training_file", least=2)
    [last] = read_examples([json.dumps(CHAT).encode()], "sft", "training_file", least=1)

    assert [example.number for example in examples] == [2, 4]
    assert last == ExampleLine(1, (Message("user", "Hello?"),), "Hi.")


def test_a_task_gives_its_grader_all_but_the_messages() -> None:
    tasks = read_tasks(
        file_of(*[{"messages": [USER], "answer": 7, "more": None}] * LINES_MIN), "training_file"
    )

    assert tasks[-1] == ((Message("user", "Hello?"),), {"item": {"answer": 7, "more": None}})


@pytest.mark.parametrize(
    ("method", "line", "reason"),
    [
        ("sft", "{", "JSON"),
        ("sft", "[]", "object"),
        ("sft", {"messages": []}, "`messages`"),
        ("sft", {"messages": [USER, REPLY] * 65}, "`messages`: .*128"),
        ("sft", {"prompt": "a", "completion": "b"}, "`messages`: Field required"),
        ("sft", {**CHAT, "tools": [{"type": "function"}]}, "`tools`"),
        ("sft", {"messages": [USER, {**REPLY, "refusal": "No."}]}, r"`messages\[1\].refusal`"),
        ("sft", {"messages": [USER, {**REPLY, "tool_calls": [{"id": "1"}]}]}, r"`messages\[1\].tool_calls`"),
        ("sft", {"messages": [USER]}, "no reply to learn"),
        ("sft", {"messages": [USER, {**REPLY, "weight": 0}]}, "no reply to learn"),
        ("sft", {"messages": [USER, {**REPLY, "weight": 2}]}, r"`messages\[1\].weight`"),
        (
            "sft",
            {"messages": [USER, {**REPLY, "content": [{"type": "text", "text": ""}]}]},
            r"parts\[0\].text`",
        ),
        ("sft", {"messages": [USER, {"role": "tool", "content": "1"}]}, r"`messages\[1\].role`"),
        ("sft", {"messages": [USER, {"role": "assistant", "content": None}]}, r"`messages\[1\].content"),
        ("sft", '{"messages": [{"role": "user", "content": "\\ud800"}]}', "JSON"),
        ("sft", PAIR, "`messages`: Field required"),
        ("preference", CHAT, "`input`: Field required"),
        ("preference", {**PAIR, "preferred_output": []}, "`preferred_output`"),
        ("preference", {**PAIR, "preferred_output": [REPLY, REPLY]}, "`preferred_output`"),
        ("preference", {**PAIR, "preferred_output": PAIR["non_preferred_output"]}, "two outputs to differ"),
        ("preference", {**PAIR, "input": {"messages": [USER, REPLY]}}, "has to end with a user's"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(method: str, line: Any, reason: str) -> None:
    good = CHAT if method == "sft" else PAIR

    with pytest.raises(InvalidRequest, match=f"Line 3 of the file: .*{reason}") as raised:
        read_examples(file_of(good, good, line, good), method, "validation_file", least=2)

    assert raised.value.parameter == "validation_file"


def test_bytes_that_are_no_utf_8_are_named() -> None:
    with pytest.raises(InvalidRequest, match="Line 1 of the file"):
        read_examples([b'{"messages": [{"role": "user", "content": "\xff"}]}'], "sft", "training_file")


def test_a_file_that_is_too_short_or_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="has 9 lines, and at least 10"):
        read_examples(file_of(*[CHAT] * 9), "sft", "training_file")
    with pytest.raises(InvalidRequest, match="has 0 lines"):
        read_examples([], "sft", "training_file")
    with pytest.raises(InvalidRequest, match="10 to 4,096 are learned from"):
        read_tasks(file_of({"messages": [USER]}), "training_file")
    monkeypatch.setattr(example_lines, "TASKS_MAX", 11)
    with pytest.raises(InvalidRequest, match="more than 11 lines of this method"):
        read_tasks(file_of(*[{"messages": [USER]}] * 12, "no line that is read"), "training_file")
    monkeypatch.setattr(example_lines, "EXAMPLE_CHARACTERS_MAX", 20 * len("Hello?Hi."))
    assert len(read_examples(file_of(*[CHAT] * 20), "sft", "training_file")) == 20
    with pytest.raises(InvalidRequest, match="more than the 180 characters"):
        read_examples(file_of(*[CHAT] * 21), "sft", "training_file")
    with pytest.raises(InvalidRequest, match="more than the 180 characters"):
        read_examples(file_of(*[{"messages": [USER, REPLY] * 4}] * 3), "sft", "training_file", least=2)
    with pytest.raises(InvalidRequest, match="more than the 180 characters"):
        read_examples(file_of(*[PAIR] * 11), "preference", "training_file")
    monkeypatch.undo()
    monkeypatch.setattr(example_lines, "REPLIES_MAX", 10)
    with pytest.raises(InvalidRequest, match="more than 10 replies"):
        read_examples(file_of(*[CHAT] * 12), "sft", "training_file")
    monkeypatch.setattr(example_lines, "LINES_MAX", 11)
    with pytest.raises(InvalidRequest, match="more than 11 lines"):
        read_tasks(file_of(*[{"messages": [USER]}] * 12), "training_file")
    monkeypatch.setattr(example_lines, "LINE_BYTES_MAX", 100)
    with pytest.raises(InvalidRequest, match="Line 2 of the file: it has more than 100 bytes"):
        read_examples(file_of(CHAT, "x" * 200), "sft", "training_file")
    monkeypatch.setattr(example_lines, "FILE_BYTES_MAX", 50)
    with pytest.raises(InvalidRequest, match="more than the 50 bytes"):
        read_examples(file_of(CHAT), "sft", "training_file")


def test_a_task_ends_with_a_users_message() -> None:
    with pytest.raises(InvalidRequest, match="Line 1 of the file: its messages have to end with a user's"):
        read_tasks(file_of(*[CHAT] * LINES_MIN), "training_file")


def test_a_line_that_cannot_be_graded_is_named() -> None:
    def check(item: Mapping[str, Any]) -> None:
        if "answer" not in item:
            raise ValueError("there is no answer")

    with pytest.raises(InvalidRequest, match="Line 2 of the file: there is no answer"):
        read_tasks(file_of({"messages": [USER], "answer": 1}, {"messages": [USER]}), "training_file", check)
