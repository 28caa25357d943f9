"""Whoever sent a request reads what the server's processes logged of it, and of nobody else's."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from populace.actors.errors import EngineUnavailable
from populace.gateway import request_logs
from populace.storage.records.named import Named
from populace.telemetry.calls import Caller, serving
from populace.telemetry.log_setup import digest_of
from populace.telemetry.options import TraceOptions
from populace.telemetry.tracing.setup import telemetry_setup
from tests.runtime.gateway.conftest import HeldSearches
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.telemetry.test_reading import Log
from tests.runtime.telemetry.written import options

CHAT = "/v1/chat/completions"


class Logging:
    """The log of this process, and its traces if they are on, which ``settle`` writes to files."""

    def __init__(self, population: Population, *, traces: bool = False, **changes: Any) -> None:
        target = TraceOptions("file", str(population.traces_directory)) if traces else None
        changes = {"log_level": "debug", "traces": target, **changes}
        self._options = options(population.logs_directory, **changes)
        self._end = telemetry_setup(self._options, "gateway")

    def settle(self) -> None:
        """Write what was told so far: the telemetry of a process ends with it, and another one begins."""
        self._end()
        self._end = telemetry_setup(self._options, "gateway")

    def end(self) -> None:
        self._end()


@pytest.fixture
async def log(population: Population) -> AsyncGenerator[Logging]:
    log = Logging(population)
    yield log
    log.end()


async def refused(client: httpx.AsyncClient, population: Population, request_id: str) -> None:
    """Have a chat fail that leaves lines with this id."""
    population.engine.failure = EngineUnavailable("gone")
    reply = await client.post(CHAT, json=chat_body(), headers={"x-request-id": request_id})
    assert reply.status_code in (404, 503)
    population.engine.failure = None


async def test_the_lines_of_a_request_are_shown_to_its_tenant(
    population: Population, client: httpx.AsyncClient, log: Logging
) -> None:
    await refused(client, population, "mine")
    log.settle()

    found = (await client.get("/v1/requests/mine")).json()

    assert (found["object"], found["id"], found["whole"]) == ("request", "mine", True)
    assert [(line["level"], line["error_code"]) for line in found["lines"]] == [
        ("warning", "engine_unavailable"),
        ("debug", None),
    ]
    assert found["lines"][-1]["message"].startswith(f"POST {CHAT} was answered with 503 in ")
    assert {(line["process"], line["number"]) for line in found["lines"]} == {("gateway", 0)}


async def test_another_tenant_finds_nothing_also_under_the_same_id(
    population: Population, client: httpx.AsyncClient, log: Logging
) -> None:
    await refused(client, population, "same")
    async with population.client("globex") as stranger:
        log.settle()
        unknown = await stranger.get("/v1/requests/same")
        await refused(stranger, population, "same")
        log.settle()
        theirs = (await stranger.get("/v1/requests/same")).json()["lines"]
    ours = (await client.get("/v1/requests/same")).json()["lines"]

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "request_not_found")
    assert [line["message"].split(" in ")[0] for line in theirs] == [f"POST {CHAT} was answered with 404"]
    assert len(ours) == 2
    assert not {line["at"] for line in ours} & {line["at"] for line in theirs}


async def test_the_lines_of_a_training_are_shown_to_its_models_tenant(
    population: Population, client: httpx.AsyncClient, log: Logging
) -> None:
    job = (await client.post("/v1/personal-models/ada/jobs", json={})).json()
    # As the trainer does.
    with serving(Caller(job["request_id"], tenant=digest_of("acme"))):
        logging.getLogger("populace.trainer.loop").info("the training of %s waits", Named("acme/ada"))
    log.settle()

    [line] = (await client.get(f"/v1/requests/{job['request_id']}")).json()["lines"]
    async with population.client("globex") as stranger:
        theirs = await stranger.get(f"/v1/requests/{job['request_id']}")

    assert (line["logger"], theirs.status_code) == ("populace.trainer.loop", 404)


async def test_a_request_without_a_valid_key_is_nobodys(
    population: Population, client: httpx.AsyncClient, log: Logging
) -> None:
    async with population.client(None) as stranger:
        await stranger.get("/v1/models", headers={"x-request-id": "keyless"})
    log.settle()

    assert "keyless" in (population.logs_directory / "gateway-0.jsonl").read_text()
    assert (await client.get("/v1/requests/keyless")).status_code == 404


async def test_an_unexpected_error_is_shown_by_its_type_and_not_by_its_place(
    population: Population, client: httpx.AsyncClient, log: Logging
) -> None:
    population.engine.failure = ZeroDivisionError("a text")
    failed = await client.post(CHAT, json=chat_body())
    log.settle()

    found = await client.get(f"/v1/requests/{failed.headers['x-request-id']}")

    [broken] = [line for line in found.json()["lines"] if line["level"] == "error"]
    assert (broken["raised"], broken["message"]) == ("ZeroDivisionError", f"POST {CHAT} failed")
    assert "File " not in found.text
    assert "a text" not in found.text


@pytest.mark.parametrize("request_id", ["req_0", "a" * 128])
async def test_a_request_that_left_no_line_is_404_with_what_to_do(
    client: httpx.AsyncClient, log: Logging, request_id: str
) -> None:
    refused = await client.get(f"/v1/requests/{request_id}")

    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "request_not_found")
    assert "POPULACE_LOG_LEVEL=debug" in refused.json()["error"]["message"]


@pytest.mark.parametrize("request_id", ["two words", "a" * 129, "%C3%A4", "a%0A"])
async def test_what_can_be_no_id_is_refused(client: httpx.AsyncClient, request_id: str) -> None:
    refused = await client.get(f"/v1/requests/{request_id}")

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "request_id")


async def test_without_a_log_there_is_nothing_to_show(
    population: Population, client: httpx.AsyncClient
) -> None:
    Log(population.logs_directory, "gateway-0").write(0, "before", request_id="mine")

    assert not logging.getLogger("populace").level
    assert (await client.get("/v1/requests/mine")).status_code == 404


async def test_a_tenant_looks_up_one_request_at_a_time_also_once_it_has_left(
    population: Population, client: httpx.AsyncClient, log: Logging, held_searches: HeldSearches
) -> None:
    await refused(client, population, "mine")
    log.settle()
    first = asyncio.create_task(client.get("/v1/requests/mine"))
    await held_searches.began.wait()
    second = await client.get("/v1/requests/mine")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    third = await client.get("/v1/requests/mine")
    async with population.client("globex") as stranger:
        other = asyncio.create_task(stranger.get("/v1/requests/mine"))
        held_searches.go_on()
        assert (await other).status_code == 404
    again = await client.get("/v1/requests/mine")

    assert [reply.status_code for reply in (second, third, again)] == [429, 429, 200]
    assert "retry-after" in second.headers


async def test_a_tenant_waits_for_others_for_a_while_only(
    population: Population,
    client: httpx.AsyncClient,
    log: Logging,
    held_searches: HeldSearches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await refused(client, population, "mine")
    log.settle()
    first = asyncio.create_task(client.get("/v1/requests/mine"))
    await held_searches.began.wait()
    monkeypatch.setattr(request_logs, "WAIT_SECONDS_MAX", 0.0)
    async with population.client("globex") as stranger:
        busy = [await stranger.get("/v1/requests/mine") for _ in range(2)]
        held_searches.go_on()
        assert (await first).status_code == 200
        after = await stranger.get("/v1/requests/mine")

    assert [(reply.status_code, reply.headers["retry-after"]) for reply in busy] == [(429, "1")] * 2
    assert all("Requests of others" in reply.json()["error"]["message"] for reply in busy)
    assert after.status_code == 404
