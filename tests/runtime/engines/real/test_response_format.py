"""Replies that are held to a schema: the base is too small to follow one by itself."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import validate

from populace.actors.engine import (
    Delta,
    GenerateRequest,
    Message,
    OwnedEngine,
    Sampling,
    joined,
)
from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import ANY_OBJECT, pattern_of_choices, schema_text
from tests.limits import HANG_SECONDS
from tests.runtime.engines.test_schema_grammar import GROWING, RECURSIVE

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

PROMPT = (Message("user", "Tell me about a person in France."),)
SCHEMAS: tuple[dict[str, Any], ...] = (
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["kind", "tall"]}, "maxItems": 2},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3},
    {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 5, "maximum": 7}]},
)
UNENDING = {"type": "string", "minLength": 5000}


def _request(schema: str | None, **sampling: Any) -> GenerateRequest:
    given = Sampling(max_tokens=96, seed=1, response_schema=schema)
    return GenerateRequest("one", PROMPT, replace(given, **sampling))


async def _deltas(engine: OwnedEngine, request: GenerateRequest) -> list[Delta]:
    return [delta async for delta in engine.generate(request)]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_a_reply_that_ends_by_itself_is_json_of_the_schema(
    engine: OwnedEngine, schema: dict[str, Any], temperature: float
) -> None:
    deltas = await _deltas(engine, _request(schema_text(schema), temperature=temperature))

    assert deltas[-1].finish_reason == "stop"
    validate(json.loads(joined(deltas).text), schema)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize(
    "pattern",
    [
        r"(19|20)\d{2}-(0[1-9]|1[0-2])",
        pattern_of_choices(["yes", "no (not yet)", "Zürich\n🙂"], "choice"),
        pattern_of_choices(["same"], "choice"),
    ],
)
async def test_a_reply_that_ends_by_itself_matches_the_pattern(
    engine: OwnedEngine, pattern: str, temperature: float
) -> None:
    deltas = await _deltas(engine, _request(None, response_pattern=pattern, temperature=temperature))

    assert deltas[-1].finish_reason == "stop"
    assert re.fullmatch(pattern, joined(deltas).text)


async def test_a_pattern_that_grows_is_bounded_and_the_engine_goes_on(engine: OwnedEngine) -> None:
    before, refused = joined(await _deltas(engine, _request(None, max_tokens=2))), 0
    async with asyncio.timeout(HANG_SECONDS):
        for pattern in GROWING[::3]:
            try:
                deltas = await _deltas(engine, _request(None, response_pattern=pattern, max_tokens=4))
            except InvalidRequest:
                refused += 1
            else:
                assert 1 <= len(joined(deltas).token_ids) <= 4

    assert refused < len(GROWING[::3])
    assert joined(await _deltas(engine, _request(None, max_tokens=2))).token_ids == before.token_ids


async def test_replies_of_several_schemas_and_of_none_share_the_batch(engine: OwnedEngine) -> None:
    asked = [*(schema_text(schema) for schema in SCHEMAS), None]
    free = joined(await _deltas(engine, _request(None, max_tokens=12)))

    replies = await asyncio.gather(
        *(
            _deltas(
                engine, replace(_request(schema, max_tokens=96 if schema else 12), request_id=str(number))
            )
            for number, schema in enumerate(asked)
        )
    )

    for schema, deltas in zip(SCHEMAS, replies, strict=False):
        validate(json.loads(joined(deltas).text), schema)
    assert joined(replies[-1]).token_ids == free.token_ids


@pytest.mark.parametrize("schema", [schema_text(UNENDING), schema_text(RECURSIVE), ANY_OBJECT])
async def test_a_reply_says_that_it_was_cut_off(engine: OwnedEngine, schema: str) -> None:
    reply = joined(await _deltas(engine, _request(schema, max_tokens=1)))

    assert reply.finish_reason == "length"
    assert reply.text[:1] in ('"', "{")


async def test_log_probabilities_are_numbers_of_what_is_permitted(engine: OwnedEngine) -> None:
    [first, *_] = await _deltas(engine, _request(schema_text(SCHEMAS[1]), logprobs=20, temperature=0.0))

    # A token that begins an array begins with its bracket, and few go on with a value.
    [row] = first.logprobs
    assert all(text.startswith("[") for _, text, _ in row.top)
    assert all(logprob > float("-inf") for _, _, logprob in row.top)


async def test_a_schema_without_a_grammar_is_refused_and_the_engine_goes_on(engine: OwnedEngine) -> None:
    with pytest.raises(InvalidRequest, match="not"):
        await _deltas(engine, _request(schema_text({"not": {}})))
    excluding: dict[str, Any] = {
        "ignore_eos": True,
        "min_tokens": 4,
        "allowed_token_ids": (7,),
        "bad_words": ("{",),
    }
    for name, value in excluding.items():
        with pytest.raises(InvalidRequest) as raised:
            await _deltas(engine, _request(ANY_OBJECT, **{name: value}))
        assert raised.value.parameter == name

    assert len(joined(await _deltas(engine, _request(None, max_tokens=2))).token_ids) == 2


async def test_penalties_and_biases_choose_among_what_the_schema_permits(engine: OwnedEngine) -> None:
    wanted = {"repetition_penalty": 1.3, "min_p": 0.05, "logit_bias": ((1, 100.0), (2, 100.0))}

    reply = joined(await _deltas(engine, _request(schema_text(SCHEMAS[0]), temperature=0.7, **wanted)))

    assert reply.finish_reason == "stop"
    validate(json.loads(reply.text), SCHEMAS[0])
