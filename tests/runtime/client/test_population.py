"""What the Python face refuses before anything is sent."""

import dataclasses
from typing import Any, cast

import pytest

from populace.actors.aggregation.question import Question
from populace.actors.engine import Message, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.memory import MemoryChoice
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.client.chat_request import chat_request, peek_request
from populace.client.options import AskOptions, SamplingOptions, TrainOptions
from populace.policies.retrieval import Retrieval

ADA = ModelId("local", "ada")


def test_a_text_continues_the_main_conversation_and_messages_are_read_as_they_are() -> None:
    text = chat_request(ADA, "hi", temperature=0)
    messages = chat_request(ADA, [{"role": "user", "content": "hi"}])

    assert text.messages == messages.messages == (Message("user", "hi"),)
    assert text.turn.history_of == "main"
    assert messages.turn.history_of is None
    assert text.sampling == Sampling(max_tokens=256, temperature=0)


def test_the_same_operation_with_other_options_has_another_body() -> None:
    first = chat_request(ADA, "hi", operation="op", temperature=0)
    same = chat_request(ADA, "hi", operation="op", temperature=0)
    other = chat_request(ADA, "hi", operation="op", temperature=1)

    assert first.turn.operation == same.turn.operation == other.turn.operation == "key-op"
    assert first.turn.body_hash == same.turn.body_hash
    assert first.turn.body_hash != other.turn.body_hash


def test_what_is_retrieved_shapes_the_reply_and_what_was_corrected_and_told_is_the_default() -> None:
    plain = chat_request(ADA, "Which dog?")
    asking = chat_request(ADA, "Which dog?", context={"retrieve": 3})
    others = [
        chat_request(ADA, "Which dog?", context=told)
        for told in (
            {"retrieve": 2},
            {"corrections": False},
            {"told": False},
            {"corrections": False, "told": False},
            {},
            {"retrieve": 0, "corrections": True, "told": True},
        )
    ]

    words, asked = ("which", "dog"), "Which dog?"
    assert asking.turn.retrieval == Retrieval(words, 3, corrections=True, told=True, asked=asked)
    assert plain.turn.retrieval == Retrieval(words, 0, corrections=True, told=True, asked=asked)
    two, uncorrected, untold, nothing, *same = others
    assert uncorrected.turn.retrieval == Retrieval(words, 0, told=True, asked=asked)
    assert untold.turn.retrieval == Retrieval(words, 0, corrections=True, asked=asked)
    assert nothing.turn.retrieval is None
    assert {one.turn.body_hash for one in same} == {plain.turn.body_hash}
    assert len({one.turn.body_hash for one in (plain, asking, two, uncorrected, untold, nothing)}) == 6


def test_a_message_without_words_has_one_body_with_and_without_corrections() -> None:
    first, second = (
        chat_request(ADA, "?!", context=told) for told in ({"corrections": False}, {"corrections": True})
    )

    assert first.turn.retrieval is second.turn.retrieval is None
    assert first.turn.body_hash == second.turn.body_hash


@pytest.mark.parametrize(
    "told", [{"retrieve": -1}, {"corrections": 1}, {"other": True}, [], {"retrieve": True}]
)
def test_a_context_of_the_wrong_shape_is_refused(told: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat_request(ADA, "Which dog?", context=told)

    assert refused.value.parameter == "context"


@pytest.mark.parametrize("options", [{"operation": "op"}, {"keep": 0}, {"memory": {"write": True}}])
def test_a_peek_has_nothing_that_only_a_turn_has(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        peek_request(ADA, "hi", **options)

    assert refused.value.parameter in options


def test_a_peek_is_the_request_of_a_turn_that_writes_and_keeps_nothing() -> None:
    turn, peek = chat_request(ADA, "hi"), peek_request(ADA, "hi")

    assert (peek.messages, peek.sampling) == (turn.messages, turn.sampling)
    assert (peek.memory, peek.kept) == (MemoryChoice(read=True, write=False), None)
    assert peek_request(ADA, "hi", alias="base").memory == MemoryChoice(read=False, write=False)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("", {}),
        ([], {}),
        (None, {}),
        (5, {}),
        (["hi"], {}),
        ([{"role": "user"}], {}),
        ([{"role": "user", "content": "hi", "images": ["cat.png"]}], {}),
        ("\ud800", {}),
        ("hi", {"operation": " "}),
        ("hi", {"operation": "\ud800"}),
        ("hi", {"tempurature": 0}),
        ("hi", {"temperature": "hot"}),
        ("hi", {"top_p": True}),
        ("hi", {"context": {"retrieve": 17}}),
        ("hi", {"context": {"retrieve": -1}}),
        ("hi", {"context": {"retrieve": True}}),
        ("hi", {"context": {"retrieve": "3"}}),
        ("hi", {"context": {"retreive": 3}}),
    ],
)
def test_input_of_the_wrong_shape_is_refused_by_name(message: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        chat_request(ADA, message, **options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("conversation", 5),
        ("conversation", ""),
        ("alias", None),
        ("turn_seconds_max", 0),
        ("turn_seconds_max", -5),
        ("turn_seconds_max", float("inf")),
        ("turn_seconds_max", None),
        ("memory", True),
        ("memory", 0),
        ("context", 3),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("top_k", None),
        ("seed", "x"),
        ("seed", 1.0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("ignore_eos", "no"),
        ("stop", 5),
        ("stop", [5]),
        ("stop", ["\ud800"]),
        ("bad_words", "no"),
        ("allowed_token_ids", ["a"]),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {5: "1"}),
        ("logit_bias", [5]),
        ("repetition_detection", 5),
        ("repetition_detection", {"max_pattern_size": "64", "min_count": 4}),
        ("repetition_detection", {"min_count": 4}),
    ],
)
def test_an_option_of_the_wrong_type_is_refused_by_its_name(option: str, value: object) -> None:
    for request in (chat_request, peek_request):
        with pytest.raises(InvalidRequest) as refused:
            request(ADA, "hi", **cast("Any", {option: value}))

        assert refused.value.parameter == option


@pytest.mark.parametrize(
    "content",
    [
        None,
        5,
        [],
        [5],
        ["hi"],
        [{"type": "text"}],
        [{"type": "text", "text": 5}],
        [{"type": "image_url", "image_url": {"url": "x"}}],
    ],
)
def test_a_content_that_is_no_text_is_refused_and_shown_what_is_one(content: object) -> None:
    for message in ({"role": "user", "content": content}, Message("user", cast("Any", content))):
        with pytest.raises(InvalidRequest, match='"type": "text"'):
            chat_request(ADA, [message])


def test_parts_of_a_message_are_joined_as_over_http() -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]

    assert chat_request(ADA, [{"role": "user", "content": parts}]).messages == (Message("user", "hello"),)


@pytest.mark.parametrize(
    ("options", "fields", "others"),
    [
        (
            SamplingOptions,
            Sampling,
            {"ends_degenerate", "prompt_logprobs", "returns_prompt", "response_schema", "response_pattern"},
        ),
        (TrainOptions, TrainingOptions, set[str]()),
        (AskOptions, Question, {"messages"}),
    ],
)
def test_the_keywords_are_the_fields(options: type, fields: type, others: set[str]) -> None:
    assert {field.name for field in dataclasses.fields(fields)} - others == set(options.__annotations__)


def test_empty_extras_of_an_echoed_message_are_no_loss() -> None:
    echoed: dict[str, Any] = {"role": "user", "content": "hi", "refusal": None, "tool_calls": []}

    assert chat_request(ADA, [echoed]).messages == (Message("user", "hi"),)


def test_a_wrong_keyword_is_told_the_nearest_right_one() -> None:
    with pytest.raises(InvalidRequest, match="Did you mean `temperature`") as told:
        chat_request(ADA, "hi", **cast("Any", {"tempurature": 0}))

    assert told.value.parameter == "tempurature"


def test_a_stop_string_may_be_given_alone() -> None:
    assert chat_request(ADA, "hi", stop="\n").sampling.stop == ("\n",)


def test_a_whole_number_is_the_same_request_as_over_http() -> None:
    requests = [chat_request(ADA, "hi", temperature=number) for number in (0, 0.0)]

    assert requests[0].turn.body_hash == requests[1].turn.body_hash
