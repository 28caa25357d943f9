"""Every response, and the body of every error, names its request."""

import json

import httpx
import pytest

from tests.runtime.gateway.population import BODY_BYTES_MAX, Population, chat_body

CHAT = "/v1/chat/completions"
ID = "x-request-id"


async def test_a_sane_id_of_the_client_is_kept(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=chat_body(), headers={ID: "job-7:a.b_c"})

    assert (reply.status_code, reply.headers[ID]) == (200, "job-7:a.b_c")


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129, "a\tb", "a/b"], ids=str)
async def test_else_each_request_gets_one_of_its_own(client: httpx.AsyncClient, given: str | None) -> None:
    headers = {} if given is None else {ID: given}
    replies = [await client.get("/v1/models", headers=headers) for _ in range(2)]

    made = [reply.headers[ID] for reply in replies]
    assert all(one.startswith("req_") and len(one) == 36 for one in made)
    assert made[0] != made[1]


async def test_the_body_of_an_error_has_the_id_of_its_header(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.failure = ZeroDivisionError()
    async with population.client(None) as stranger:
        failed = [
            await client.post(CHAT, json=chat_body(temperature=9)),
            await client.post(CHAT, json=chat_body()),
            await client.post(CHAT, content=b" " * (BODY_BYTES_MAX + 1)),
            await client.get("/v1/nothing"),
            await client.put(CHAT, json={}),
            await stranger.get("/v1/models"),
        ]

    assert [reply.status_code for reply in failed] == [400, 500, 413, 404, 405, 401]
    assert [reply.json()["error"]["request_id"] for reply in failed] == [
        reply.headers[ID] for reply in failed
    ]


async def test_an_error_in_mid_stream_has_the_id_of_its_stream(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.fail_before, population.engine.failure = 1, ZeroDivisionError()

    reply = await client.post(CHAT, json=chat_body(stream=True))

    *_, last = reply.text.strip().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["request_id"] == reply.headers[ID]
