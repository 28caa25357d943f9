"""Promise P2 over HTTP: an Idempotency-Key takes effect at most once, and keeps its answer."""

import asyncio
import json

import httpx
import pytest

from tests.runtime.gateway.population import Population, chat_body

CHAT = "/v1/chat/completions"
KEY = {"Idempotency-Key": "order 66"}


def text_of(response: httpx.Response) -> tuple[str, str]:
    """Answer completion id and text of a reply, streamed or not."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        body = response.json()
        return body["id"], body["choices"][0]["message"]["content"]
    *lines, done, _ = response.text.split("\n\n")
    assert done == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    (identity,) = {event["id"] for event in events}
    return identity, "".join(event["choices"][0]["delta"]["content"] for event in events)


@pytest.mark.parametrize("first_stream", [False, True])
@pytest.mark.parametrize("second_stream", [False, True])
async def test_the_same_key_gives_the_same_id_and_text(
    client: httpx.AsyncClient, population: Population, first_stream: bool, second_stream: bool
) -> None:
    first = await client.post(CHAT, json=chat_body(stream=first_stream), headers=KEY)

    second = await client.post(CHAT, json=chat_body(stream=second_stream), headers=KEY)

    assert text_of(second) == text_of(first)
    assert len(await population.log("ada")) == 1
    assert len(population.engine.requests) == 1


async def test_a_repeated_answer_says_so(client: httpx.AsyncClient) -> None:
    await client.post(CHAT, json=chat_body("one"), headers=KEY)
    await client.post(CHAT, json=chat_body("two"))

    second = await client.post(CHAT, json=chat_body("one"), headers=KEY)

    assert second.json()["populace"]["replayed"] is True
    assert second.headers["x-populace-log-position"] == "0"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_keeps_its_answer_across_a_restart(population: Population, stream: bool) -> None:
    async with population.client() as client:
        first = await client.post(CHAT, json=chat_body(stream=stream), headers=KEY)

    population.restart()
    async with population.client() as client:
        second = await client.post(CHAT, json=chat_body(stream=stream), headers=KEY)

    assert text_of(second) == text_of(first)
    assert len(await population.log("ada")) == 1


async def test_two_calls_at_once_with_one_key_are_one_turn(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.hold_before = 1
    first = asyncio.create_task(client.post(CHAT, json=chat_body(), headers=KEY))
    await population.engine.held.wait()
    second = asyncio.create_task(client.post(CHAT, json=chat_body(), headers=KEY))
    population.engine.gate.set()

    replies = await asyncio.gather(first, second)

    assert text_of(replies[0]) == text_of(replies[1])
    assert len(await population.log("ada")) == 1


async def test_a_key_with_another_body_is_a_conflict(client: httpx.AsyncClient) -> None:
    await client.post(CHAT, json=chat_body("one"), headers=KEY)

    second = await client.post(CHAT, json=chat_body("two"), headers=KEY)

    assert second.status_code == 409
    error = second.json()["error"]
    assert error["code"] == "operation_conflict"
    assert "`order 66`" in error["message"]
    assert error["details"] == {"operation": "order 66"}
    assert second.headers["x-should-retry"] == "false"


async def test_what_does_not_shape_the_reply_may_change_under_a_key(client: httpx.AsyncClient) -> None:
    first = await client.post(CHAT, json=chat_body(user="u1"), headers=KEY)

    body = chat_body(user="u2", metadata={"try": "2"}, stream=True, stream_options={"include_usage": False})
    second = await client.post(CHAT, json=body, headers=KEY)

    assert text_of(second) == text_of(first)


async def test_the_same_key_of_another_model_is_another_operation(
    client: httpx.AsyncClient, population: Population
) -> None:
    await population.create("eve")

    first = await client.post(CHAT, json=chat_body(), headers=KEY)
    second = await client.post(CHAT, json=chat_body(model="eve"), headers=KEY)

    assert text_of(first)[0] != text_of(second)[0]


async def test_without_a_key_every_call_is_a_turn(client: httpx.AsyncClient, population: Population) -> None:
    for _ in range(2):
        await client.post(CHAT, json=chat_body())

    assert len(await population.log("ada")) == 2


@pytest.mark.parametrize("key", ["", "   ", "k" * 256])
@pytest.mark.parametrize("model", ["ada", "base"])
async def test_an_unusable_key_is_refused_by_name(client: httpx.AsyncClient, key: str, model: str) -> None:
    reply = await client.post(CHAT, json=chat_body(model=model), headers={"Idempotency-Key": key})

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["k" * 255, "clé".encode(), b"\xff\xfe", "a\tb", "key", "auto-00"])
async def test_any_other_key_is_accepted(
    client: httpx.AsyncClient, population: Population, key: str | bytes
) -> None:
    headers = {"Idempotency-Key": key}
    first = await client.post(CHAT, json=chat_body(), headers=headers)  # type: ignore[arg-type]

    second = await client.post(CHAT, json=chat_body(), headers=headers)  # type: ignore[arg-type]

    assert text_of(second) == text_of(first)
    assert len(await population.log("ada")) == 1


async def test_a_refused_turn_leaves_its_key_free(client: httpx.AsyncClient, population: Population) -> None:
    refused = await client.post(CHAT, json=chat_body(model="eve"), headers=KEY)
    await population.create("eve")

    accepted = await client.post(CHAT, json=chat_body(model="eve"), headers=KEY)

    assert (refused.status_code, accepted.status_code) == (404, 200)
