"""``/openapi.json`` says what every route takes, answers and leads to, and real replies are as it says."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, validate
from pydantic import BaseModel

from populace.api.completions import (
    ChatChunkObject,
    ChatCompletionObject,
    EmbeddingsObject,
    TextChunkObject,
    TextCompletionObject,
)
from populace.api.errors import ErrorObject
from populace.api.population import AnswerObject
from populace.api.request_log import RequestLogObject
from populace.api.responses import ResponseEventObject
from populace.gateway.http.body import Body
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_request_logs import Logging

CHAT, TEXT, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
ANSWERS, RESPONSES = "/v1/population/answers", "/v1/responses"
JSON, EVENTS = "application/json", "text/event-stream"

WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}
CALL = ('[{"name": "weather", ', '"arguments": {"city": ', '"Rome"}}]')
FORCED: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required"}
WITH_IDS: dict[str, Any] = {"return_token_ids": True, "return_tokens_as_token_ids": True}
CITIES: dict[str, Any] = {"choices": ["Paris", "Rome", "Oslo"], "k": 3}

CHATS: list[dict[str, Any]] = [
    chat_body(),
    chat_body(model="base"),
    chat_body(model="ada:peek", store=True, user="me"),
    chat_body(n=2, logprobs=True, top_logprobs=2),
    chat_body(logprobs=True, return_prompt_text=True, **WITH_IDS),
    chat_body(context={"retrieve": 2}, conversation="main", memory={"write": False}),
    chat_body(**FORCED),
    chat_body(tools=[WEATHER], logprobs=True),
    chat_body(model="population", population=CITIES, user="me"),
    chat_body("Rome?", model="population", population={"kind": "number", "k": 3}),
]
TEXTS: list[dict[str, Any]] = [
    {"model": "ada", "prompt": "once upon"},
    {"model": "ada", "prompt": [[1, 2], [3]], "n": 2, "store": True},
    {"model": "ada", "prompt": "once upon", "echo": True, "logprobs": 2, **WITH_IDS},
    {"model": "base", "prompt": "once upon", "echo": True, "logprobs": 0, "max_tokens": 0},
]
ASKED: dict[str, Any] = {"question": "Which one is in Italy?", **CITIES}
WHOLE: list[tuple[str, type[BaseModel], dict[str, Any]]] = [
    *((CHAT, ChatCompletionObject, body) for body in CHATS),
    *((TEXT, TextCompletionObject, body) for body in TEXTS),
    (TEXT, TextCompletionObject, {"model": "base", "prompt": "once upon", "prompt_logprobs": 1}),
    (CHAT, ChatCompletionObject, chat_body(prompt_logprobs=1)),
    (EMBEDDINGS, EmbeddingsObject, {"model": "base", "input": ["one", "two"], "user": "me"}),
    (EMBEDDINGS, EmbeddingsObject, {"model": "base", "input": [1, 2], "encoding_format": "base64"}),
    (ANSWERS, AnswerObject, ASKED),
]
STREAMED: list[tuple[str, type[BaseModel], dict[str, Any]]] = [
    *((CHAT, ChatChunkObject, body) for body in CHATS),
    *((TEXT, TextChunkObject, body) for body in TEXTS),
    (ANSWERS, AnswerObject, ASKED),
]


@pytest.fixture
def description(population: Population) -> dict[str, Any]:
    return population.app.openapi()


@pytest.fixture
async def talking(population: Population, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of three members, whose base may call tools; all replies are a call, which is no vote."""
    population.engine.base = population.engine.base._replace(tool_parser="hermes")
    population.engine.reply = CALL
    for name in ("bob", "cyd"):
        await population.create(name)
    for name in ("ada", "bob", "cyd"):
        await client.put(f"/v1/personal-models/{name}/sharing", json={"sharing": "texts"})
    await client.post(CHAT, json=chat_body("My dog is called Bruno."))
    return client


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def check(description: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    """Compare a value with a schema of the description."""
    validate(value, {**schema, "components": description["components"]})


def check_is_whole(model: type[BaseModel], value: object) -> None:
    """Check that a model has all fields of a value, and none of its own, such as a null that was not sent."""
    assert model.model_validate(value).model_dump(mode="json", exclude_unset=True) == value


def events_in(text: str) -> Iterator[dict[str, str]]:
    for written in text.split("\n\n"):
        if written:
            yield dict(line.split(": ", 1) for line in written.split("\n"))


def check_events(description: dict[str, Any], content: dict[str, Any], text: str) -> list[Any]:
    """Compare the events of a stream with its description; returns the data of those that are JSON."""
    event = content[EVENTS]["itemSchema"]
    data = event["properties"]["data"]
    told = data["anyOf"][0] if "anyOf" in data else data
    read: list[Any] = []
    for written in events_in(text):
        check(description, event, written)
        if written["data"] == "[DONE]":
            assert {"const": "[DONE]"} in data["anyOf"]
            continue
        read.append(json.loads(written["data"]))
        check(description, told["contentSchema"], read[-1])
    return read


def content_of(description: dict[str, Any], path: str, status: str = "200") -> dict[str, Any]:
    return description["paths"][path]["post"]["responses"][status]["content"]


def test_every_schema_is_one_of_the_json_schema_that_openapi_names(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    for schema in description["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("path", "model", "body"), WHOLE)
async def test_a_whole_reply_is_what_is_described_and_nothing_else(
    talking: httpx.AsyncClient,
    description: dict[str, Any],
    path: str,
    model: type[BaseModel],
    body: dict[str, Any],
) -> None:
    reply = await talking.post(path, json=body)

    assert reply.status_code == 200, reply.text
    check(description, content_of(description, path)[JSON]["schema"], reply.json())
    check_is_whole(model, reply.json())


async def test_a_request_with_its_lines_and_spans_is_what_is_described(
    population: Population, client: httpx.AsyncClient, description: dict[str, Any]
) -> None:
    telemetry = Logging(population, traces=True)
    await client.get("/v1/models", headers={"x-request-id": "mine"})
    telemetry.settle()
    found = (await client.get("/v1/requests/mine")).json()
    telemetry.end()

    operation = description["paths"]["/v1/requests/{request_id}"]["get"]
    check(description, operation["responses"]["200"]["content"][JSON]["schema"], found)
    check_is_whole(RequestLogObject, found)
    assert found["lines"]
    assert found["trace"]


@pytest.mark.parametrize(("path", "model", "body"), STREAMED)
async def test_every_event_of_a_stream_is_what_is_described_and_nothing_else(
    talking: httpx.AsyncClient,
    description: dict[str, Any],
    path: str,
    model: type[BaseModel],
    body: dict[str, Any],
) -> None:
    usage: dict[str, Any] = {} if path == ANSWERS else {"stream_options": {"include_usage": True}}
    reply = await talking.post(path, json={**body, "stream": True, **usage})

    assert reply.status_code == 200, reply.text
    events = check_events(description, content_of(description, path), reply.text)
    assert len(events) > 1
    for event in events:
        check_is_whole(model, event)


@pytest.mark.parametrize("calls", [True, False])
async def test_every_event_of_a_response_is_what_is_described_and_nothing_else(
    talking: httpx.AsyncClient, population: Population, description: dict[str, Any], calls: bool
) -> None:
    weather = {"type": "function", **WEATHER["function"]}
    options = {"tools": [weather], "tool_choice": "required"} if calls else {"store": False}
    population.engine.reply = CALL if calls else ("Hello", " you")
    body = {"model": "ada", "input": "hi", "include": ["message.output_text.logprobs"], **options}
    reply = await talking.post(RESPONSES, json={**body, "stream": True})

    for event in check_events(description, content_of(description, RESPONSES), reply.text):
        check_is_whole(ResponseEventObject, event)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_a_stream_that_fails_ends_as_is_described(
    talking: httpx.AsyncClient, population: Population, description: dict[str, Any], path: str
) -> None:
    population.engine.failure, population.engine.fail_before = RuntimeError("scripted"), 1
    body: dict[str, Any] = chat_body() if path == CHAT else {"model": "ada", "input": "hi"}
    reply = await talking.post(path, json={**body, "stream": True})

    *_, last = check_events(description, content_of(description, path), reply.text)
    check_is_whole(ErrorObject if path == CHAT else ResponseEventObject, last)


async def test_errors_are_what_is_described_and_nothing_else(
    client: httpx.AsyncClient, description: dict[str, Any]
) -> None:
    replies = [
        await client.post(CHAT, json=chat_body(model="nobody")),
        await client.post(CHAT, json={"model": "ada"}),
        await client.get(CHAT),
        await client.post("/v1/personal-models", json={"name": "ada"}),
        await client.get("/v1/models", headers={"Authorization": "Bearer nonsense"}),
    ]

    assert [reply.status_code for reply in replies] == [404, 400, 405, 409, 401]
    for reply in replies:
        check(description, content_of(description, CHAT, "default")[JSON]["schema"], reply.json())
        check_is_whole(ErrorObject, reply.json())


async def test_every_route_says_what_it_answers_and_how_it_fails(description: dict[str, Any]) -> None:
    answers = {
        f"{name} {status}": response.get("content", {})
        for name, operation in operations(description)
        for status, response in operation["responses"].items()
    }
    media = {name: set(content) for name, content in answers.items() if set(content) != {JSON}}

    assert media == {
        "get /metrics 200": {"text/plain; version=0.0.4; charset=utf-8"},
        "get /v1/files/{file_id}/content 200": {"application/octet-stream"},
        "get /v1/personal-models/{name}/export 200": {"application/zip"},
        "get /v1/personal-models/{name}/memory/picture 200": {"image/svg+xml"},
        "get /v1/responses/{response_id} 200": {JSON, EVENTS},
        **{f"post {path} 200": {JSON, EVENTS} for path in (CHAT, TEXT, ANSWERS, RESPONSES)},
    }
    untyped = [
        name
        for name, content in answers.items()
        if not all(told.get("schema") or told.get("itemSchema") for told in content.values())
    ]
    assert untyped == []
    assert all("default" in operation["responses"] for _, operation in operations(description))


async def test_every_body_has_an_example_that_its_route_accepts(description: dict[str, Any]) -> None:
    bodies = {body.__name__: body for body in _subclasses(Body)}
    shown = 0
    for name, operation in operations(description):
        content = operation.get("requestBody", {}).get("content", {})
        if JSON not in content:
            assert set(content) <= {"multipart/form-data", "application/zip", "application/octet-stream"}, (
                name
            )
            continue
        body = content[JSON]["schema"]["$ref"].rpartition("/")[2]
        for example in description["components"]["schemas"][body]["examples"]:
            assert bodies[body].model_validate(example), name
            shown += 1
    assert shown > 15


async def test_every_example_is_as_its_schema_says(description: dict[str, Any]) -> None:
    for schema in description["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            check(description, schema, example)
    for _, operation in operations(description):
        content = operation["responses"].get("200", {}).get("content", {})
        if EVENTS in content:
            assert check_events(description, content, content[EVENTS]["example"])


async def test_links_lead_from_what_is_made_to_the_routes_that_take_its_id(
    description: dict[str, Any],
) -> None:
    known = {operation["operationId"]: operation for _, operation in operations(description)}
    linked: dict[str, int] = {}
    for name, operation in operations(description):
        for status, response in operation["responses"].items():
            for link in response.get("links", {}).values():
                parameters = {one["name"] for one in known[link["operationId"]]["parameters"]}
                [(parameter, source)] = link["parameters"].items()
                assert parameter in parameters
                made = response["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
                assert "id" in description["components"]["schemas"][made]["required"]
                assert source == "$response.body#/id"
                linked[f"{name} {status}"] = linked.get(f"{name} {status}", 0) + 1

    assert linked.keys() == {
        "post /v1/admin/keys 201",
        "post /v1/conversations 200",
        "post /v1/files 200",
        "post /v1/fine_tuning/jobs 200",
        "post /v1/personal-models 201",
        "post /v1/responses 200",
    }
    assert linked["post /v1/responses 200"] == 4
    assert all(links > 2 for links in linked.values())


def _subclasses(of: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in of.__subclasses__():
        yield from (one, *_subclasses(one))
