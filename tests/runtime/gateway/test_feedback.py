"""Feedback over HTTP: on a reply of the caller's, once, and named when it is none."""

from typing import Any

import httpx
import pytest

from tests.runtime.gateway.population import Population, chat_body

FEEDBACK = "/v1/feedback"


async def completion(client: httpx.AsyncClient) -> dict[str, Any]:
    return (await client.post("/v1/chat/completions", json=chat_body())).json()


async def test_a_reply_is_judged_by_the_id_that_the_client_got(client: httpx.AsyncClient) -> None:
    await completion(client)
    reply = await completion(client)

    given = await client.post(
        FEEDBACK,
        json={"model": "ada", "completion_id": reply["id"], "thumb": "down", "correction": "Better so."},
    )

    assert given.status_code == 201
    assert given.json() == {
        "object": "feedback",
        "model": "ada",
        "position": 1,
        "created": given.json()["created"],
        "thumb": "down",
        "rating": None,
        "correction": "Better so.",
        "reward": None,
    }
    listed = (await client.get("/v1/personal-models/ada/feedback")).json()
    assert listed == {"object": "list", "data": [given.json()]}


async def test_feedback_is_given_once_however_often_it_is_sent(client: httpx.AsyncClient) -> None:
    await completion(client)
    body = {"model": "ada", "position": 0, "rating": 0.5}

    for headers in ({}, {}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
        assert (await client.post(FEEDBACK, json=body, headers=headers)).status_code == 201
    other = await client.post(FEEDBACK, json=body | {"rating": 0.6}, headers={"Idempotency-Key": "k"})

    assert (other.status_code, other.json()["error"]["code"]) == (409, "operation_conflict")
    listed = (await client.get("/v1/personal-models/ada/feedback")).json()
    assert len(listed["data"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        ({"model": "ada", "thumb": "up"}, 400, "completion_id"),
        ({"model": "ada", "position": 0, "completion_id": "c", "thumb": "up"}, 400, "completion_id"),
        ({"model": "ada", "position": 0}, 400, "thumb"),
        ({"model": "ada", "position": 0, "thumb": "sideways"}, 400, "thumb"),
        ({"model": "ada", "position": 0, "rating": 7}, 400, "rating"),
        ({"model": "ada", "position": -1, "thumb": "up"}, 400, "position"),
        ({"model": "ada", "position": 0, "correction": ""}, 400, "correction"),
        ({"model": "ada", "position": 0, "thumb": "up", "mood": "good"}, 400, "mood"),
        ({"position": 0, "thumb": "up"}, 400, "model"),
        ({"model": "ada", "position": 5, "thumb": "up"}, 404, None),
        ({"model": "ada", "completion_id": "chatcmpl-no", "thumb": "up"}, 404, None),
        ({"model": "nobody", "position": 0, "thumb": "up"}, 404, None),
        ({"model": "base", "position": 0, "thumb": "up"}, 404, None),
    ],
)
async def test_feedback_that_is_none_is_refused_by_name(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, parameter: str | None
) -> None:
    await completion(client)

    reply = await client.post(FEEDBACK, json=body)

    assert reply.status_code == status, reply.text
    if parameter is not None:
        assert reply.json()["error"]["param"] == parameter
    assert (await client.get("/v1/personal-models/ada/feedback")).json()["data"] == []


async def test_nobody_judges_or_reads_what_is_another_tenants(population: Population) -> None:
    async with population.client() as acme, population.client("globex") as rival:
        reply = await completion(acme)

        given = await rival.post(FEEDBACK, json={"model": "ada", "completion_id": reply["id"], "thumb": "up"})
        read = await rival.get("/v1/personal-models/ada/feedback")

        assert (given.status_code, read.status_code) == (404, 404)
        assert (await acme.get("/v1/personal-models/ada/feedback")).json()["data"] == []
