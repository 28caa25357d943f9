"""The first chat with a name that no model has creates it, where the operator allows that."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import httpx
import pytest
from openai import AsyncOpenAI, NotFoundError

from populace.actors.tenants import Limits
from tests.runtime.gateway.population import Population, chat_body

CHAT = "/v1/chat/completions"
MADE = "There was no model of this name: this request created it."

Body = Mapping[str, Any]


@pytest.fixture
def population(population: Population) -> Population:
    """A population in which acme's chats create models, and those of globex do not."""
    population.app = population.make_app(creating=frozenset({"acme"}))
    return population


async def _names(client: httpx.AsyncClient) -> list[str]:
    return [model["id"] for model in (await client.get("/v1/personal-models")).json()["data"]]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_chat_with_a_name_creates_the_model_and_says_so_once(
    client: httpx.AsyncClient, population: Population, stream: bool
) -> None:
    first = await client.post(CHAT, json=chat_body("hello", model="zoe", stream=stream))
    second = await client.post(CHAT, json=chat_body("again", model="zoe", stream=stream))

    assert (first.status_code, second.status_code) == (200, 200)
    assert (MADE in first.text, MADE in second.text) == (True, False)
    assert [turn.messages[0].content for turn in await population.log("zoe")] == ["hello", "again"]


async def test_openais_client_needs_no_other_request_first(population: Population) -> None:
    async with population.client() as transport:
        ada = AsyncOpenAI(
            base_url="http://populace/v1", api_key=population.keys["acme"], http_client=cast("Any", transport)
        )
        said = await ada.chat.completions.create(model="zoe", messages=[{"role": "user", "content": "hi"}])
        followed = await ada.responses.create(model="yan", input="hi")

        for warned in (said, followed):
            assert [warning["param"] for warning in warned.model_dump()["warnings"]] == ["model"]
        with pytest.raises(NotFoundError, match=r"`populace model create gpt-4o`\.") as refused:
            await ada.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    assert (refused.value.code, refused.value.type) == ("model_not_found", "invalid_request_error")
    assert "\n" not in refused.value.message


async def test_two_first_chats_at_once_create_one_model(
    client: httpx.AsyncClient, population: Population
) -> None:
    sent = [client.post(CHAT, json=chat_body(f"hello {n}", model="zoe")) for n in range(2)]

    replies = await asyncio.gather(*sent)

    assert [reply.status_code for reply in replies] == [200, 200]
    assert await _names(client) == ["ada", "zoe"]
    assert len(await population.log("zoe")) == 2


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"model": "zoe:peek"}, {}),
        ({"model": "zoe@stable"}, {}),
        ({"model": "zoe@base"}, {}),
        ({"model": "zoe", "peek": True}, {}),
        ({"model": "zoe"}, {"Populace-New-Model": "refuse"}),
        ({"model": "gpt-4"}, {}),
        ({"model": "claude-sonnet-5"}, {}),
        ({"model": "gpt-4.1"}, {}),
        ({"model": "../zoe"}, {}),
        ({"model": "openai/zoe"}, {}),
        ({"model": "import"}, {}),
        ({"model": "z" * 65}, {}),
    ],
)
async def test_what_is_no_turn_of_a_possible_name_creates_nothing(
    client: httpx.AsyncClient, body: Body, headers: dict[str, str]
) -> None:
    reply = await client.post(CHAT, json=chat_body("hello", **body), headers=headers)

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert await _names(client) == ["ada"]


async def test_another_tenants_chats_create_nothing(population: Population) -> None:
    async with population.client("globex") as client:
        reply = await client.post(CHAT, json=chat_body("hello", model="zoe"))

        assert reply.status_code == 404
        assert "Create it with `populace model create zoe`" in reply.json()["error"]["message"]
        assert await _names(client) == []


async def test_a_key_of_some_models_creates_those_alone(population: Population) -> None:
    await population.add_key("some", models=("zoe",))
    async with population.client("some") as client:
        statuses = [
            (await client.post(CHAT, json=chat_body("hello", model=name))).status_code
            for name in ("zoe", "yan")
        ]

    assert statuses == [200, 403]


async def test_a_request_that_is_refused_creates_nothing(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=chat_body("hello", model="zoe", temperature=9))
    other = await client.post(
        CHAT, json=chat_body("hello", model="zoe"), headers={"Populace-New-Model": "make"}
    )

    assert (reply.status_code, other.status_code) == (400, 400)
    assert await _names(client) == ["ada"]


async def test_a_tenant_that_has_all_its_people_is_told_so(population: Population) -> None:
    await population.directory.tenants.limit("acme", Limits(people=1))
    async with population.client() as client:
        reply = await client.post(CHAT, json=chat_body("hello", model="zoe"))

    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
