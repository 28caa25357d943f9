"""What a model knows is shown at once, the same over HTTP, in Python and at the command line."""

import json
from typing import Any

import httpx
import pytest

from populace.actors.known import QUESTIONS, SURE_MIN
from populace.client.async_population import AsyncPopulation
from populace.client.http_connection import HttpConnection
from tests.runtime.gateway.conftest import Command
from tests.runtime.gateway.population import Population, chat_body

PATH = "/v1/personal-models/ada/memory/known"
SAID, ANSWER = "I live in Porto.", "You live in Porto."


@pytest.fixture
async def told(client: httpx.AsyncClient, population: Population) -> Population:
    population.engine.reply = (ANSWER,)
    await client.post("/v1/chat/completions", json=chat_body(SAID))
    return population


async def known(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_it_is_asked_in_the_background_and_shown_with_the_position_that_it_is_of(
    client: httpx.AsyncClient, told: Population
) -> None:
    first = await known(client)
    waited = await known(client, wait=True)

    assert (first["position"], first["refreshing"], first["facts"], first["unknown"]) == (None, True, [], [])
    assert (waited["position"], waited["refreshing"], waited["sure_min"]) == (1, False, SURE_MIN)
    assert waited["facts"] == [
        {
            "question": "Where do I live?",
            "answer": ANSWER,
            "sure": 1.0,
            "position": 0,
            "said": SAID,
            "read": True,
        }
    ]
    assert len(waited["unknown"]) == len(QUESTIONS) - 1
    assert await known(client) == waited


async def test_what_was_forgotten_is_gone_from_what_is_kept(
    client: httpx.AsyncClient, told: Population
) -> None:
    await known(client, wait=True)
    told.engine.hold_before = 0

    forgotten = await client.post("/v1/personal-models/ada/forget", json={"position": 0})
    shown = await known(client)

    assert forgotten.status_code == 200, forgotten.text
    assert (shown["facts"], shown["refreshing"]) == ([], True)
    told.engine.gate.set()


@pytest.mark.parametrize("query", [{"sure_min": 1.5}, {"sure_min": "nan"}, {"wait": "perhaps"}])
async def test_a_certainty_that_is_none_is_refused_by_name(
    client: httpx.AsyncClient, told: Population, query: dict[str, Any]
) -> None:
    refused = await client.get(PATH, params=query)

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == next(iter(query))


async def test_it_is_the_same_in_python_and_at_the_command_line(
    client: httpx.AsyncClient, told: Population, url: str, command: Command
) -> None:
    shown = await command("model", "known", "ada")
    as_json = await command("model", "known", "ada", "--json", "--sure-min", "0.5")
    async with AsyncPopulation(await HttpConnection.open(url, told.keys["acme"])) as population:
        facts = (await population.model("ada").known(wait=True)).facts

    assert shown.exit_code == 0, shown.output
    assert ANSWER in shown.output
    assert "read there" in shown.output
    body = json.loads(as_json.output)
    assert (body["position"], body["sure_min"]) == (1, 0.5)
    assert [fact.answer for fact in facts] == [fact["answer"] for fact in body["facts"]] == [ANSWER]
