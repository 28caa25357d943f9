"""``response_format``, as the official client sends it and as vLLM's users do."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from populace.actors.response_schema import (
    ANY_OBJECT,
    CHOICES_CHARACTERS_MAX,
    CHOICES_MAX,
    PATTERN_CHARACTERS_MAX,
    PROPERTIES_MAX,
)
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import Population

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "who?"}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}
REPLY = ('{"name"', ': "Ada"', "}")


class Node(BaseModel):
    name: str
    children: list["Node"] = []


@pytest.fixture
async def ada(population: Population, url: str) -> AsyncGenerator[AsyncOpenAI, None]:
    population.engine.reply = REPLY
    async with AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        yield client


def _schema_asked(population: Population) -> Any:
    schema = population.engine.requests[-1].sampling.response_schema
    return None if schema is None else json.loads(schema)


def _named(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}


@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_pydantic_class_is_parsed(ada: AsyncOpenAI, population: Population, model: str) -> None:
    reply = await ada.chat.completions.parse(model=model, messages=MESSAGES, response_format=Node)

    assert reply.choices[0].message.parsed == Node(name="Ada")
    # The client makes the schema strict.
    assert _schema_asked(population)["$defs"]["Node"]["additionalProperties"] is False


async def test_a_stream_is_parsed(ada: AsyncOpenAI) -> None:
    async with ada.chat.completions.stream(model="ada", messages=MESSAGES, response_format=Node) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()

    assert kinds.count("content.delta") == len(REPLY)
    assert final.choices[0].message.parsed == Node(name="Ada")


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, json.loads(ANY_OBJECT)),
        ({"response_format": _named(SCHEMA)}, SCHEMA),
        ({"guided_json": SCHEMA}, SCHEMA),
        ({"structured_outputs": {"json": SCHEMA}}, SCHEMA),
        (
            {"structured_outputs": {"json_object": True, "disable_any_whitespace": False}},
            json.loads(ANY_OBJECT),
        ),
    ],
)
async def test_each_way_to_name_a_schema_reaches_the_engine(
    ada: AsyncOpenAI, population: Population, given: dict[str, Any], schema: object
) -> None:
    reply = await ada.chat.completions.create(model="ada", messages=MESSAGES, extra_body=given)

    assert reply.choices[0].message.content == "".join(REPLY)
    assert _schema_asked(population) == schema


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ({"regex": r"\d{4}-\d{2}", "choice": None}, r"\d{4}-\d{2}"),
        ({"choice": ["yes", "no (not yet)", "a|b"]}, r"yes|no \(not yet\)|a\|b"),
        ({"choice": ["\0x"], "json_object": False, "regex": None}, r"\x00x"),
    ],
)
async def test_a_pattern_and_a_choice_reach_the_engine(
    ada: AsyncOpenAI, population: Population, given: dict[str, Any], pattern: str
) -> None:
    body = {"structured_outputs": given}
    await ada.chat.completions.create(model="ada", messages=MESSAGES, extra_body=body)
    await ada.completions.create(model="base", prompt="once", extra_body=body)
    free: Any = {"type": "text"}
    await ada.responses.create(model="ada", input="who?", text={"format": free}, extra_body=body)
    await ada.chat.completions.create(model="ada", messages=MESSAGES, response_format=free, extra_body=body)

    sampled = [request.sampling for request in population.engine.requests]
    assert [(one.response_schema, one.response_pattern) for one in sampled] == [(None, pattern)] * 4


async def test_a_text_completion_is_held_to_a_schema_too(ada: AsyncOpenAI, population: Population) -> None:
    await ada.completions.create(model="base", prompt="once", extra_body={"response_format": _named(SCHEMA)})

    assert _schema_asked(population) == SCHEMA


@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {**_named(SCHEMA), "type": "text"}}, "response_format"),
        ({"response_format": _named([])}, "response_format.json_schema.schema"),
        ({"response_format": _named({"not": {}})}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "é", "schema": SCHEMA}}}, None),
        (
            {
                "response_format": _named(
                    {"properties": dict.fromkeys(map(str, range(PROPERTIES_MAX + 1)), SCHEMA)}
                )
            },
            "response_format.json_schema.schema",
        ),
        ({"guided_json": {"type": 3}}, "guided_json"),
        ({"structured_outputs": {"json": {"type": 3}}}, "structured_outputs.json"),
        ({"guided_json": {"minItems": 10**9}}, "guided_json"),
        ({"guided_json": SCHEMA, "response_format": {"type": "json_object"}}, "guided_json"),
        ({"structured_outputs": {"regex": "(a"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "(?=a)b"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": ""}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "(a{1000}){1000}"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"json_object": False}}, "structured_outputs"),
        (
            {"structured_outputs": {"regex": "a" * (PATTERN_CHARACTERS_MAX + 1)}},
            "structured_outputs.regex",
        ),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": ["a"] * (CHOICES_MAX + 1)}}, "structured_outputs.choice"),
        (
            {"structured_outputs": {"choice": ["a" * CHOICES_CHARACTERS_MAX, "b"]}},
            "structured_outputs.choice",
        ),
        ({"structured_outputs": {"choice": ["a"], "regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"grammar": "root ::= a"}}, "structured_outputs.grammar"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"guided_regex": "a+"}, "guided_regex"),
    ],
)
async def test_a_format_that_cannot_be_kept_is_refused_before_anything_waits(
    ada: AsyncOpenAI, population: Population, model: str, given: dict[str, Any], parameter: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await ada.chat.completions.create(model=model, messages=MESSAGES, extra_body=given)

    assert raised.value.code == "invalid_request"
    assert parameter is None or raised.value.param == parameter
    assert population.engine.requests == []


async def test_another_schema_under_the_same_key_is_another_request(ada: AsyncOpenAI) -> None:
    async def ask(body: dict[str, Any]) -> str:
        reply = await ada.chat.completions.create(
            model="ada", messages=MESSAGES, extra_body=body, extra_headers={"Idempotency-Key": "k"}
        )
        return reply.id

    first = await ask({"response_format": _named(SCHEMA)})

    assert await ask({"guided_json": SCHEMA}) == first
    with pytest.raises(openai.ConflictError):
        await ask({})


async def test_a_population_has_no_format(ada: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await ada.chat.completions.create(
            model="population", messages=MESSAGES, response_format={"type": "json_object"}
        )

    assert raised.value.param == "response_format"
