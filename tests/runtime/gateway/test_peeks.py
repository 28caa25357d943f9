"""A peek over HTTP: asked for by the model id, a header or a field, or recognised; the reply says so."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE

CHAT = "/v1/chat/completions"
ADA = ModelId("acme", "ada")
TITLE = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Guidelines:
- The title should clearly represent the main theme or subject of the conversation."""


def revision(digit: str, created_ms: int = 1) -> Revision:
    return Revision(digit * 64, BASE.fingerprint, "imported", None, 4, 100, created_ms)


async def ways(client: httpx.AsyncClient, *, stream: bool = False) -> list[httpx.Response]:
    """Ask for a peek in each way that there is."""
    return [
        await client.post(CHAT, json=chat_body(model="ada:peek", stream=stream)),
        await client.post(CHAT, json=chat_body(stream=stream), headers={"X-Populace-Peek": "true"}),
        await client.post(CHAT, json=chat_body(peek=True, stream=stream)),
        await client.post("/v1/completions", json={"model": "ada:peek", "prompt": "once", "stream": stream}),
    ]


def provenance(response: httpx.Response) -> dict[str, Any]:
    if not response.headers["content-type"].startswith("text/event-stream"):
        return response.json()["populace"]
    *_, last, done, _ = response.text.split("\n\n")
    assert done == "data: [DONE]"
    return json.loads(last.removeprefix("data: "))["populace"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_peek_is_answered_and_leaves_no_trace(
    client: httpx.AsyncClient, population: Population, stream: bool
) -> None:
    before = await population.directory.show_model(ADA)

    replies = await ways(client, stream=stream)

    assert [reply.status_code for reply in replies] == [200] * 4
    assert [reply.headers["x-populace-peek"] for reply in replies] == ["asked"] * 4
    assert [provenance(reply)["peek"] for reply in replies] == ["asked"] * 4
    for reply in replies:
        assert "x-populace-log-position" not in reply.headers
        assert (provenance(reply)["log_position"], provenance(reply)["operation"]) == (None, None)
        assert provenance(reply)["revision"] == "base"
    assert await population.log("ada") == ()
    assert await population.directory.show_model(ADA) == before
    assert sum([host.turns for host in await population.directory.statistics()]) == 0


async def test_a_peek_may_be_what_no_log_could_hold_and_is_warned_of_nothing(
    client: httpx.AsyncClient, population: Population
) -> None:
    several = await client.post("/v1/completions", json={"model": "ada:peek", "prompt": ["once", "twice"]})
    variables: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
    chat = await client.post(CHAT, json=chat_body(model="ada:peek", **variables))

    assert [choice["index"] for choice in several.json()["choices"]] == [0, 1]
    assert [request.prompt for request in population.engine.requests[:2]] == ["once", "twice"]
    assert population.engine.requests[2].template == variables["chat_template_kwargs"]
    for reply in (several, chat):
        assert (reply.status_code, reply.headers["x-populace-peek"]) == (200, "asked")
        assert "warnings" not in reply.json()
    assert await population.log("ada") == ()


async def test_a_turn_says_that_it_is_none(client: httpx.AsyncClient) -> None:
    turn = await client.post(CHAT, json=chat_body())

    assert turn.json()["populace"]["peek"] is None
    assert "x-populace-peek" not in turn.headers


async def test_a_peek_is_answered_while_a_turn_runs_and_others_wait(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.hold_before = 1
    turns = [asyncio.create_task(client.post(CHAT, json=chat_body(str(number)))) for number in range(2)]
    await population.engine.held.wait()
    await population.wait_waiting(1)
    population.engine.hold_before = None

    peek = await client.post(CHAT, json=chat_body(model="ada:peek"))

    assert peek.status_code == 200
    assert [turn.answer for turn in await population.log("ada")] == [None]
    population.engine.gate.set()
    assert [reply.status_code for reply in await asyncio.gather(*turns)] == [200, 200]
    assert len(await population.log("ada")) == 2


async def test_a_peek_reads_the_conversation_and_what_is_retrieved(
    client: httpx.AsyncClient, population: Population
) -> None:
    await client.post(CHAT, json=chat_body("My dog is called Bruno.", conversation="main"))

    await client.post(CHAT, json=chat_body("And?", model="ada:peek", conversation="main"))
    await client.post(CHAT, json=chat_body("My dog, again.", model="ada:peek", context={"retrieve": 1}))

    going_on, retrieving = (request.prompt for request in population.engine.requests[1:])
    assert len(going_on) == 3
    assert "Bruno" in str(retrieving[0])


async def test_choices_and_log_probabilities_of_a_peek(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=chat_body(model="ada:peek", n=2, logprobs=True))

    choices = reply.json()["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["reply 1 to you", "reply 2 to you"]
    assert all(choice["logprobs"]["content"] for choice in choices)


@pytest.mark.parametrize(
    "model", ["nobody:peek", "ada:poke", "ada:peek:peek", ":peek", "ada:", "base:peek", "population:peek"]
)
async def test_a_peek_at_nobody_is_404(client: httpx.AsyncClient, model: str) -> None:
    reply = await client.post(CHAT, json=chat_body(model=model))

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("options", "headers", "parameter"),
    [
        ({"n": 2, "keep": 1}, {}, "keep"),
        ({"memory": {"write": True}}, {}, "memory.write"),
        ({}, {"Idempotency-Key": "once"}, "Idempotency-Key"),
        ({"peek": False}, {}, "peek"),
        ({}, {"X-Populace-Peek": "false"}, "X-Populace-Peek"),
        ({}, {"X-Populace-Peek": "maybe"}, "X-Populace-Peek"),
    ],
)
async def test_what_only_a_turn_has_is_refused_by_name(
    client: httpx.AsyncClient,
    population: Population,
    options: dict[str, Any],
    headers: dict[str, str],
    parameter: str,
) -> None:
    reply = await client.post(CHAT, json=chat_body(model="ada:peek", **options), headers=headers)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == parameter
    assert population.engine.requests == []


async def test_a_peek_may_leave_the_memory_unread(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=chat_body(model="ada:peek", memory={"read": False}))

    assert reply.status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_front_ends_task_is_a_peek_and_says_which(
    client: httpx.AsyncClient, population: Population, stream: bool
) -> None:
    reply = await client.post(CHAT, json=chat_body(TITLE, stream=stream))

    assert reply.headers["x-populace-peek"] == "open-webui:title"
    assert provenance(reply)["peek"] == "open-webui:title"
    assert await population.log("ada") == ()


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"peek": False}, {}),
        ({}, {"X-Populace-Peek": "False"}),
        ({}, {"Idempotency-Key": "once"}),
        ({"memory": {"write": True}}, {}),
    ],
)
async def test_a_task_prompt_is_a_turn_if_the_caller_says_so(
    client: httpx.AsyncClient, population: Population, options: dict[str, Any], headers: dict[str, str]
) -> None:
    reply = await client.post(CHAT, json=chat_body(TITLE, **options), headers=headers)

    assert reply.json()["populace"]["peek"] is None
    assert len(await population.log("ada")) == 1


async def test_a_setting_makes_task_prompts_turns(population: Population) -> None:
    population.app.state.gateway = replace(population.app.state.gateway, recognises_tasks=False)

    async with population.client() as client:
        await client.post(CHAT, json=chat_body(TITLE))
        await client.post(CHAT, json=chat_body(TITLE, model="ada:peek"))

    assert len(await population.log("ada")) == 1


async def test_the_base_leaves_no_trace_anyway(client: httpx.AsyncClient) -> None:
    asked = await client.post(CHAT, json=chat_body(model="base", peek=True))
    title = await client.post(CHAT, json=chat_body(TITLE, model="base"))

    assert [reply.json()["populace"]["peek"] for reply in (asked, title)] == ["asked", None]


async def test_the_bare_base_and_every_revision_answer_as_peeks(
    client: httpx.AsyncClient, population: Population
) -> None:
    for number, digit in enumerate("de"):
        await population.directory.publish_revision(ADA, revision(digit, number))
    await population.directory.move_alias(ADA, "stable", "d" * 64)

    ids = ["ada@base", f"ada@{'d' * 64}", "ada@dddddd", "ada@eeeeee:peek", "ada@stable:peek"]
    replies = [await client.post(CHAT, json=chat_body(model=name)) for name in ids]
    turn = await client.post(CHAT, json=chat_body(model="ada@stable"))

    assert [reply.json()["populace"]["peek"] for reply in replies] == [*["revision"] * 3, *["asked"] * 2]
    assert [reply.json()["populace"]["revision"][:1] for reply in replies] == ["b", "d", "d", "e", "d"]
    assert [request.adapter is None for request in population.engine.requests] == [True, *[False] * 5]
    assert (turn.json()["populace"]["peek"], turn.json()["populace"]["log_position"]) == (None, 0)
    assert len(await population.log("ada")) == 1


async def test_an_alias_that_looks_like_a_digest_is_an_alias(
    client: httpx.AsyncClient, population: Population
) -> None:
    await population.directory.publish_revision(ADA, revision("d"))
    await population.directory.move_alias(ADA, "decade", "d" * 64)

    reply = await client.post(CHAT, json=chat_body(model="ada@decade"))

    assert reply.json()["populace"]["log_position"] == 0


@pytest.mark.parametrize("name", ["ada@canary", "ada@abcdef", f"ada@{'0' * 64}", "ada@abcdef:peek", "ada@3"])
async def test_an_unknown_revision_is_404_by_name(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.post(CHAT, json=chat_body(model=name))

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "revision_not_found")
    assert name.removesuffix(":peek").partition("@")[2] in reply.json()["error"]["message"]


async def test_every_id_that_answers_is_listed_and_shown(
    client: httpx.AsyncClient, population: Population
) -> None:
    await population.create("bob")
    await population.directory.publish_revision(ADA, revision("d"))
    await population.directory.move_alias(ADA, "stable", "d" * 64)

    listed = [model["id"] for model in (await client.get("/v1/models")).json()["data"]]
    hidden = ["ada@base", "ada@dddddd", "ada@stable:peek"]
    shown = [await client.get(f"/v1/models/{name}") for name in (*listed, *hidden)]
    missing = [await client.get(f"/v1/models/{name}") for name in ("nobody:peek", "ada@canary", "ada@0:peek")]

    assert listed == ["base", "population", "ada", "ada:peek", "ada@stable", "bob", "bob:peek"]
    assert [model.json()["id"] for model in shown] == [*listed, *hidden]
    assert [model.status_code for model in missing] == [404] * 3


@pytest.mark.parametrize("after", ["ada", "ada:peek", "ada@stable"])
async def test_the_list_goes_on_after_any_id_of_a_model(
    client: httpx.AsyncClient, population: Population, after: str
) -> None:
    await population.create("bob")

    page = (await client.get("/v1/models", params={"after": after})).json()

    assert [model["id"] for model in page["data"]] == ["bob", "bob:peek"]


async def test_a_peek_is_no_model_of_its_own(client: httpx.AsyncClient) -> None:
    shown = await client.get("/v1/personal-models/ada:peek")
    made = await client.post("/v1/personal-models", json={"name": "eve:peek"})

    assert (shown.status_code, made.status_code) == (404, 400)
    alias = await client.put("/v1/personal-models/ada/aliases/base", json={"revision": "latest"})
    assert (alias.status_code, alias.json()["error"]["code"]) == (400, "invalid_name")
