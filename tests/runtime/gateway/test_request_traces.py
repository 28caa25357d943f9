"""Whoever sent a request sees its trace, and nothing of anyone else's, whatever trace they join."""

from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest

from populace.actors import span_names as names
from populace.actors.errors import EngineUnavailable
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE
from tests.runtime.gateway.test_logs import MARKS, use_everything
from tests.runtime.gateway.test_request_logs import Logging
from tests.runtime.gateway.test_traces import CHAT, SPAN, TRACE, TURN

Make = Callable[..., Logging]


@pytest.fixture
def traced(population: Population) -> Generator[Make]:
    """Begin to log and trace, with further options of telemetry."""
    made: list[Logging] = []

    def make(**changes: Any) -> Logging:
        made.append(Logging(population, traces=True, **changes))
        return made[-1]

    yield make
    for logging in made:
        logging.end()


def tree(spans: list[dict[str, Any]]) -> list[str]:
    """Draw the spans, each indented below its parent."""

    def below(parent: str | None, depth: int) -> list[str]:
        return [
            row
            for span in spans
            if span["parent"] == parent
            for row in ("  " * depth + span["name"], *below(span["id"], depth + 1))
        ]

    return below(None, 0)


async def test_the_trace_of_a_turn_is_one_tree(client: httpx.AsyncClient, traced: Make) -> None:
    telemetry = traced()
    await client.post(CHAT, json=chat_body(max_tokens=7), headers={"x-request-id": "mine"})
    await client.post(CHAT, json=chat_body(), headers={"x-request-id": "other"})
    telemetry.settle()

    found = (await client.get("/v1/requests/mine")).json()

    assert found["whole"] is True
    assert tree(found["trace"]) == TURN
    assert {(span["process"], span["number"], span["error"]) for span in found["trace"]} == {
        ("gateway", 0, None)
    }
    request, chat = (
        {span["name"]: span for span in found["trace"]}[name] for name in (TURN[0], f"chat {BASE.name}")
    )
    assert request["began_ms"] == 0
    assert 0 <= chat["began_ms"] <= chat["began_ms"] + chat["ms"] <= request["ms"]
    assert request["attributes"] == {names.HTTP_STATUS: 200}
    assert chat["attributes"][names.OUTPUT_TOKENS] == 3
    assert chat["attributes"][names.FINISH_REASONS] == ["stop"]


async def test_lines_and_spans_of_a_failure_are_both_shown(
    population: Population, client: httpx.AsyncClient, traced: Make
) -> None:
    telemetry = traced()
    population.engine.failure = EngineUnavailable("gone")
    await client.post(CHAT, json=chat_body(), headers={"x-request-id": "mine"})
    population.engine.failure = None
    telemetry.settle()

    found = (await client.get("/v1/requests/mine")).json()

    # The last line is written after the request's span, and is its tenant's all the same.
    assert [line["level"] for line in found["lines"]] == ["warning", "debug"]
    errors = {span["name"]: span["error"] for span in found["trace"] if span["error"] is not None}
    assert errors[f"POST {CHAT}"] == "503"
    assert errors[f"chat {BASE.name}"] == EngineUnavailable.code


async def test_a_request_that_left_no_line_has_its_trace(client: httpx.AsyncClient, traced: Make) -> None:
    telemetry = traced(log_level="info")
    await client.post(CHAT, json=chat_body(stream=True), headers={"x-request-id": "mine"})
    telemetry.settle()

    found = (await client.get("/v1/requests/mine")).json()

    assert found["lines"] == []
    assert tree(found["trace"]) == TURN


async def test_another_tenant_sees_no_span_also_under_the_same_id(
    population: Population, client: httpx.AsyncClient, traced: Make
) -> None:
    telemetry = traced(names_plain=True)
    named = {"x-request-id": "same"}
    await client.post(CHAT, json=chat_body(), headers=named)
    async with population.client("globex") as stranger:
        telemetry.settle()
        unknown = await stranger.get("/v1/requests/same")
        await stranger.get("/v1/models", headers=named)
        telemetry.settle()
        theirs = (await stranger.get("/v1/requests/same")).json()["trace"]
    ours = (await client.get("/v1/requests/same")).json()["trace"]

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "request_not_found")
    assert tree(theirs)[0] == "GET /v1/models"
    assert CHAT not in str(theirs)
    assert tree(ours) == TURN


async def test_who_joins_another_ones_trace_sees_and_adds_nothing(
    population: Population, client: httpx.AsyncClient, traced: Make
) -> None:
    telemetry = traced()
    ours = await client.post(
        CHAT,
        json=chat_body(),
        headers={"x-request-id": "ours", "traceparent": f"00-{TRACE}-{SPAN}-01"},
    )
    below = {"x-request-id": "theirs", "traceparent": ours.headers["traceparent"]}
    async with population.client("globex") as stranger, population.client(None) as keyless:
        await stranger.get("/v1/models", headers=below)
        await keyless.get("/v1/models", headers=below)
        telemetry.settle()
        seen_by_them = (await stranger.get("/v1/requests/theirs")).json()["trace"]
        refused = await stranger.get("/v1/requests/ours")
    seen_by_us = (await client.get("/v1/requests/ours")).json()["trace"]

    assert refused.status_code == 404
    # Of a joined trace the key was found before its span, to know whether it may be joined.
    assert tree(seen_by_us) == [line for line in TURN if not line.endswith("keys.find")]
    assert tree(seen_by_them)[0] == "GET /v1/models"
    assert len([span for span in seen_by_them if span["name"].startswith(("GET", "POST"))]) == 1
    assert not {span["id"] for span in seen_by_us} & {span["id"] for span in seen_by_them}


async def test_ones_own_request_below_another_is_in_its_trace(
    client: httpx.AsyncClient, traced: Make
) -> None:
    telemetry = traced()
    first = await client.post(CHAT, json=chat_body(), headers={"x-request-id": "first"})
    headers = {"x-request-id": "second", "traceparent": first.headers["traceparent"]}
    await client.get("/v1/models", headers=headers)
    telemetry.settle()

    both = (await client.get("/v1/requests/first")).json()["trace"]
    second = (await client.get("/v1/requests/second")).json()["trace"]

    assert "  GET /v1/models" in tree(both)
    assert tree(second)[0] == "GET /v1/models"
    assert CHAT not in str(second)


async def test_where_traces_are_off_the_list_is_empty(
    client: httpx.AsyncClient, population: Population
) -> None:
    log = Logging(population)
    await client.post(CHAT, json=chat_body(), headers={"x-request-id": "mine"})
    log.settle()

    found = (await client.get("/v1/requests/mine")).json()
    log.end()

    assert len(found["lines"]) == 1
    assert found["trace"] == []


async def test_no_name_and_no_word_of_anybody_is_in_a_trace_that_is_shown(
    population: Population, client: httpx.AsyncClient, traced: Make
) -> None:
    telemetry = traced()
    client.headers["x-request-id"] = "all"
    await use_everything(population, client)
    telemetry.settle()

    shown = await client.get("/v1/requests/all")

    assert len(shown.json()["trace"]) > 100
    assert [mark for mark in MARKS if mark in shown.text] == []
