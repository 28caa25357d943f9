"""``context: {"retrieve": k}`` over HTTP: what the engine is told, and what the answer says of it."""

from typing import Any

import httpx
import pytest

from populace.actors.engine import Message
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_answers import events_of

CHAT = "/v1/chat/completions"
THREE = {"retrieve": 3}


async def tell(client: httpx.AsyncClient, *texts: str, model: str = "ada") -> None:
    for text in texts:
        assert (await client.post(CHAT, json=chat_body(text, model=model))).status_code == 200


def system_of(population: Population) -> str:
    first = population.engine.requests[-1].prompt[0]
    assert isinstance(first, Message)
    return first.content if first.role == "system" else ""


@pytest.mark.parametrize("stream", [False, True])
async def test_the_engine_is_told_of_what_fits_and_the_answer_names_it(
    client: httpx.AsyncClient, population: Population, stream: bool
) -> None:
    await tell(client, "My dog is Bruno.", "I live in Lisbon.", "My dog sleeps.")

    reply = await client.post(CHAT, json=chat_body("My dog, again.", context=THREE, stream=stream))

    last: dict[str, Any] = events_of(reply)[-1] if stream else reply.json()
    made_with = last["populace"]
    assert made_with["retrieved"] == [0, 2]
    assert "My dog is Bruno." in system_of(population)
    assert "Lisbon" not in system_of(population)
    shown = (await client.get("/v1/personal-models/ada/interactions")).json()["data"]
    assert [turn["retrieved"] for turn in shown] == [[], [], [], [0, 2]]
    assert shown[-1]["messages"] == [{"role": "user", "content": "My dog, again."}]


async def test_a_retry_gets_the_first_answer_whatever_was_said_since(
    client: httpx.AsyncClient, population: Population
) -> None:
    await tell(client, "My dog is Bruno.")
    body, key = chat_body("My dog, again.", context=THREE), {"Idempotency-Key": "k"}
    first = await client.post(CHAT, json=body, headers=key)
    await tell(client, "The dog is gone.")

    again = await client.post(CHAT, json=body, headers=key)
    other = await client.post(CHAT, json=chat_body("My dog, again."), headers=key)

    assert again.json()["choices"] == first.json()["choices"]
    assert again.json()["populace"]["retrieved"] == [0]
    assert other.json()["error"]["code"] == "operation_conflict"
    assert len(population.engine.requests) == 3


async def test_a_conversation_that_is_sent_along_is_not_told_again(
    client: httpx.AsyncClient, population: Population
) -> None:
    await tell(client, "My dog is Bruno.", "A dog barks.")
    messages = [
        {"role": "user", "content": "My dog is Bruno."},
        {"role": "assistant", "content": "reply 1 to you"},
        {"role": "user", "content": [{"type": "text", "text": "My dog, again."}]},
    ]

    reply = await client.post(CHAT, json={"model": "ada", "messages": messages, "context": THREE})

    assert reply.json()["populace"]["retrieved"] == [1]
    assert len(population.engine.requests[-1].prompt) == 4


@pytest.mark.parametrize("context", [None, {}, {"retrieve": 0}, {"retrieve": 16}])
async def test_nothing_to_tell_is_no_error(
    client: httpx.AsyncClient, population: Population, context: dict[str, int] | None
) -> None:
    reply = await client.post(CHAT, json=chat_body("hello", context=context))

    assert reply.json()["populace"]["retrieved"] == []
    assert population.engine.requests[-1].prompt == (Message("user", "hello"),)


async def test_choices_of_which_none_is_kept_do_not_say_what_they_were_told(
    client: httpx.AsyncClient, population: Population
) -> None:
    await tell(client, "My dog is Bruno.")

    unkept = await client.post(CHAT, json=chat_body("My dog, again.", context=THREE, n=2))
    kept = await client.post(CHAT, json=chat_body("My dog, again.", context=THREE, n=2, keep=1))

    assert unkept.json()["populace"]["retrieved"] is None
    assert kept.json()["populace"]["retrieved"] == [0]
    assert all("Bruno" in str(request.prompt[0]) for request in population.engine.requests[1:])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("context", "named"), [({}, [0]), (THREE, [0, 2]), ({"told": False}, [])])
async def test_a_peek_names_the_turns_that_it_was_told_from(
    client: httpx.AsyncClient,
    population: Population,
    context: dict[str, Any],
    named: list[int],
    stream: bool,
) -> None:
    await tell(client, "My dog is called Bruno.", "I live in Lisbon.", "My dog sleeps.")
    population.engine.reply = ("Your dog is ", "called Bruno.")
    asked = "What is my dog called?"

    chat = chat_body(asked, model="ada:peek", context=context, stream=stream)
    response = {"model": "ada", "input": asked, "store": False, "context": context}
    chatted, responded = await client.post(CHAT, json=chat), await client.post("/v1/responses", json=response)

    last: dict[str, Any] = events_of(chatted)[-1] if stream else chatted.json()
    answered = responded.json()
    assert last["populace"]["retrieved"] == answered["populace"]["retrieved"] == named
    assert last["populace"]["log_position"] is None


async def test_nobody_is_told_of_another_tenants_log(population: Population) -> None:
    await population.create("ada", tenant="globex")
    async with population.client() as acme, population.client("globex") as rival:
        await tell(acme, "My dog is Bruno.")

        reply = await rival.post(CHAT, json=chat_body("My dog, again.", context=THREE))

    assert reply.json()["populace"]["retrieved"] == []
    assert system_of(population) == ""


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, chat_body(context={"retrieve": -1}), "context.retrieve"),
        (CHAT, chat_body(context={"retrieve": 17}), "context.retrieve"),
        (CHAT, chat_body(context={"retrieve": True}), "context.retrieve"),
        (CHAT, chat_body(context={"retrieve": "3"}), "context.retrieve"),
        (CHAT, chat_body(context={"retrieve": None}), "context.retrieve"),
        (CHAT, chat_body(context={"retrieve": 3, "rerank": True}), "context.rerank"),
        (CHAT, chat_body(context=3), "context"),
        (CHAT, chat_body(context=THREE, model="base"), "context"),
        ("/v1/completions", {"model": "ada", "prompt": "Once", "context": THREE}, "context"),
    ],
)
async def test_what_cannot_be_retrieved_is_refused_by_name(
    client: httpx.AsyncClient, population: Population, path: str, body: dict[str, Any], param: str
) -> None:
    reply = await client.post(path, json=body)

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text
    assert population.engine.requests == []


async def test_a_context_that_is_too_long_for_the_prompt_is_left_out(
    client: httpx.AsyncClient, population: Population
) -> None:
    await tell(client, "dog " * 100, "A dog barks.")

    reply = await client.post(CHAT, json=chat_body("dog " + "word " * 900, context=THREE))

    assert reply.status_code == 200, reply.text
    assert len(reply.json()["populace"]["retrieved"]) < 2
