"""Calls in a base's own format leave the engine as the text that the log has."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, RepetitionDetection, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.tool_calls import calls_in
from populace.engines.prompts import BaseTokenizer

pytest.importorskip("vllm")
pytestmark = pytest.mark.engine

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}},
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city":"Paris"}}\n</tool_call>'
CASES = [
    (f"I look.\n{CALL}\n{CALL}", "I look.", 2),
    (CALL, "", 1),
    ("It is < 5 degrees.", "It is < 5 degrees.", 0),
    ("<tool_call>\n{broken", None, 0),
]


def test_a_reply_that_may_call_is_not_ended_for_repeating_itself(base_files: Path) -> None:
    from populace.engines.vllm_values import sampling_parameters

    sampling = Sampling(repetition_detection=RepetitionDetection(64, 4))
    plain = GenerateRequest("r", (Message("user", "hi"),), sampling)
    calling = replace(plain, template={"tools": [WEATHER]})
    shaped = replace(plain, sampling=replace(sampling, response_schema="{}"))
    tokenizer = BaseTokenizer(base_files)

    found = [
        sampling_parameters(request, 8, tokenizer, in_deltas=False).repetition_detection
        for request in (plain, calling, shaped)
    ]

    assert found[0] is not None
    assert found[1:] == [None, None]


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(("text", "content", "calls"), CASES)
def test_words_are_shown_as_they_come_and_calls_at_the_end(
    base_files: Path, text: str, content: str | None, calls: int, step: int
) -> None:
    from populace.engines.vllm_engine import CallText

    tokenizer = BaseTokenizer(base_files)
    reply = CallText("hermes", tokenizer.template_tokenizer, [WEATHER])
    pieces = [text[start : start + step] for start in range(0, len(text), step)]

    shown = [
        reply.shown(Delta(piece, (number,), 1, finish_reason="stop" if number == len(pieces) - 1 else None))
        for number, piece in enumerate(pieces)
    ]

    tokenizer.close()

    read, found = calls_in("".join(delta.text for delta in shown))
    assert [(call.name, call.arguments) for call in found] == [("weather", '{"city": "Paris"}')] * calls
    assert read.strip() == (text if content is None else content)
    assert [delta.token_ids for delta in shown] == [(number,) for number in range(len(pieces))]


def test_calls_beyond_the_first_are_no_part_of_a_reply_that_may_have_one(base_files: Path) -> None:
    from populace.engines.vllm_engine import CallText

    tokenizer = BaseTokenizer(base_files)
    reply = CallText("hermes", tokenizer.template_tokenizer, [WEATHER], parallel=False)

    shown = reply.shown(Delta(f"I look.\n{CALL}\n{CALL}", (1,), 1, finish_reason="stop"))

    tokenizer.close()
    assert [call.name for call in calls_in(shown.text)[1]] == ["weather"]


def test_a_parser_that_vllm_does_not_have_is_refused_at_the_start() -> None:
    from populace.engines.vllm_engine import check_parser

    check_parser(None)
    check_parser("hermes")
    with pytest.raises(InvalidRequest, match="no such one"):
        check_parser("no such one")
