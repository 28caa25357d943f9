"""Forgetting over HTTP: by position at once, by words only what was confirmed, once for each key."""

from typing import Any

import httpx
import pytest

from tests.runtime.gateway.population import Population, chat_body

PATH = "/v1/personal-models/ada/forget"
SECRET = "My password is swordfish-4711."


@pytest.fixture
async def ada(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client whose model was told two things."""
    for text in (SECRET, "Nice weather."):
        await say(client, text)
    return client


async def say(client: httpx.AsyncClient, text: str, **body: Any) -> httpx.Response:
    messages = [{"role": "user", "content": text}]
    return await client.post("/v1/chat/completions", json=chat_body(messages=messages, **body))


async def log(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return (await client.get("/v1/personal-models/ada/interactions")).json()["data"]


async def test_a_turn_is_forgotten_by_its_position(ada: httpx.AsyncClient) -> None:
    answer = await ada.post(PATH, json={"position": 0})

    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "object": "personal_model.forgotten",
        "id": "ada",
        "position": 2,
        "forgotten": [0],
        "already_forgotten": [],
        "shown": [],
        "repeated": [],
        "revisions": [],
        "aliases": {},
        "jobs": [],
        "memory": None,
        "found": [],
        "near": [],
        "message": "Turn 0 was forgotten.",
    }
    assert "swordfish" not in (await ada.get("/v1/personal-models/ada/interactions")).text
    assert [turn["forgotten"] for turn in await log(ada)] == [True, False, False]


async def test_words_forget_nothing_until_they_are_confirmed(ada: httpx.AsyncClient) -> None:
    found = (await ada.post(PATH, json={"query": "my password"})).json()
    assert [turn["position"] for turn in found["found"]] == [0]
    assert (found["forgotten"], found["position"], len(await log(ada))) == ([], None, 2)

    forgotten = (await ada.post(PATH, json={"query": "my password", "confirm": True})).json()

    assert forgotten["forgotten"] == [0]
    assert "swordfish" not in str(await log(ada))


@pytest.mark.parametrize("query", ["my unicorn", "unicorn", "the weather in my city"])
async def test_vague_words_forget_nothing_even_if_they_are_confirmed(
    ada: httpx.AsyncClient, query: str
) -> None:
    refused = await ada.post(PATH, json={"query": query, "confirm": True})

    assert refused.status_code == 400
    assert "Nothing was forgotten" in refused.json()["error"]["message"]
    assert len(await log(ada)) == 2


async def test_with_a_key_a_retry_gets_the_first_answer(
    ada: httpx.AsyncClient, population: Population
) -> None:
    key = {"Idempotency-Key": "forget-1"}
    bodies: list[dict[str, Any]] = [{"query": "my password", "confirm": True}]

    first = await ada.post(PATH, json=bodies[0], headers=key)
    again = await ada.post(PATH, json=bodies[0], headers=key)
    other = await ada.post(PATH, json={"positions": [1]}, headers=key)

    assert first.status_code == again.status_code == 200
    assert again.json() == first.json()
    assert (other.status_code, other.json()["error"]["code"]) == (409, "operation_conflict")
    assert len(await population.log("ada")) == 3


async def test_a_key_of_a_chat_is_none_of_forgetting(ada: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "chat-1"}
    await ada.post("/v1/chat/completions", json=chat_body(), headers=key)

    assert (await ada.post(PATH, json={"position": 0}, headers=key)).status_code == 409
    assert len(await log(ada)) == 3


async def test_twice_is_said_and_does_nothing(ada: httpx.AsyncClient) -> None:
    await ada.post(PATH, json={"position": 0})

    again = (await ada.post(PATH, json={"positions": [0]})).json()

    assert (again["forgotten"], again["already_forgotten"]) == ([], [0])
    assert again["message"] == "Turn 0 was forgotten before."
    assert len(await log(ada)) == 3


async def test_a_retry_of_what_was_forgotten_is_gone(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "said-once"}
    body = chat_body(messages=[{"role": "user", "content": SECRET}])
    made = (await client.post("/v1/chat/completions", json=body, headers=key)).json()
    await client.post(PATH, json={"position": 0})

    again = await client.post("/v1/chat/completions", json=body, headers=key)
    liked = {"model": "ada", "completion_id": made["id"], "thumb": "up"}
    judged = await client.post("/v1/feedback", json=liked)

    for answer in (again, judged):
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "interaction_forgotten")
        assert answer.headers["x-should-retry"] == "false"


BAD: list[tuple[dict[str, Any], int, str | None]] = [
    ({}, 400, "position"),
    ({"position": 0, "query": "x"}, 400, "position"),
    ({"position": -1}, 400, "position"),
    ({"position": True}, 400, "position"),
    ({"position": "0"}, 400, "position"),
    ({"positions": []}, 400, "positions"),
    ({"positions": [0, -1]}, 400, "positions[1]"),
    ({"positions": list(range(257))}, 400, "positions"),
    ({"query": ""}, 400, "query"),
    ({"query": "?!"}, 400, "query"),
    ({"position": 0, "memory": "lost"}, 400, "memory"),
    ({"position": 0, "confirm": "yes"}, 400, "confirm"),
    ({"position": 0, "sure": True}, 400, "sure"),
    ({"position": 2}, 404, None),
    ({"positions": [0, 99]}, 404, None),
]


@pytest.mark.parametrize(("body", "status", "parameter"), BAD, ids=lambda value: str(value)[:30])
async def test_bad_input_is_refused_by_name_and_nothing_is_forgotten(
    ada: httpx.AsyncClient, body: dict[str, Any], status: int, parameter: str | None
) -> None:
    answer = await ada.post(PATH, json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, parameter)
    assert [turn["forgotten"] for turn in await log(ada)] == [False, False]


async def test_nobody_forgets_for_another_tenant(population: Population, ada: httpx.AsyncClient) -> None:
    async with population.client("globex") as other:
        for body in ({"position": 0}, {"query": "password"}):
            assert (await other.post(PATH, json=body)).status_code == 404
    assert len(await log(ada)) == 2
