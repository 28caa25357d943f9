"""The log of a gateway and its hosts follows a request, and has neither people's names nor their words."""

import logging
from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import pytest

from populace.actors.errors import EngineUnavailable, InvalidRequest
from populace.telemetry.log_setup import log_setup
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.telemetry.written import lines_of, options

NAME, WORD, REPLY = "marked-name", "marked-word", "marked-reply"
MARKS = (NAME, WORD, REPLY, "acme")

End = Callable[[], None]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "gateway-0.jsonl"


@pytest.fixture
def end_log(log: Path) -> Generator[End]:
    end = log_setup(options(log.parent, log_level="debug"), "gateway")
    yield end
    end()


async def use_everything(population: Population, client: httpx.AsyncClient) -> None:
    """Serve turns of the marked name with marked words, and have as much fail as can."""
    await population.create(NAME)
    population.engine.reply = (REPLY, " ", REPLY)
    body = chat_body(WORD, model=NAME)
    for failure in (None, ValueError(WORD), InvalidRequest(WORD), EngineUnavailable(WORD), KeyError(NAME)):
        for fail_before in (0, 1):
            population.engine.failure, population.engine.fail_before = failure, fail_before
            await client.post("/v1/chat/completions", json=body)
            await client.post("/v1/chat/completions", json={**body, "stream": True})
            await client.post("/v1/responses", json={"model": NAME, "input": WORD, "stream": True})
    population.engine.failure = None
    feedback = {"kind": "correction", "text": WORD}
    path = f"/v1/personal-models/{NAME}"
    for request in (
        client.post(f"{path}/interactions/0/feedback", json=feedback),
        client.get(f"{path}/log"),
        client.get(f"{path}@{WORD}"),
        client.get(f"/v1/{WORD}"),
        client.post(path, content=WORD),
        client.delete(path),
    ):
        await request


async def test_no_name_and_no_word_of_anybody_is_in_a_log(
    population: Population,
    client: httpx.AsyncClient,
    log: Path,
    end_log: End,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await use_everything(population, client)
    logging.getLogger("uvicorn.error").error("%s", WORD, exc_info=ValueError(WORD))
    end_log()

    lines = lines_of(log)
    assert len(lines) > 30
    told = [*map(str, lines), *capsys.readouterr().err.splitlines()]
    assert [line for line in told if any(mark in line for mark in MARKS)] == []


async def test_the_lines_of_a_request_have_its_id(
    population: Population, client: httpx.AsyncClient, log: Path, end_log: End
) -> None:
    population.engine.failure = EngineUnavailable("gone")
    refused = await client.post("/v1/chat/completions", json=chat_body(), headers={"x-request-id": "mine"})
    population.engine.failure = ZeroDivisionError()
    failed = await client.post("/v1/chat/completions", json=chat_body())
    end_log()

    assert (refused.status_code, failed.status_code) == (503, 500)
    lines = lines_of(log)
    warned = [line for line in lines if line.get("request_id") == "mine" and line["level"] == "warning"]
    assert [line["error.code"] for line in warned] == ["engine_unavailable"]
    told = [line["msg"] for line in lines if line.get("request_id") == "mine" and line["level"] == "debug"]
    assert told[-1].startswith("POST /v1/chat/completions was answered with 503 in ")
    [broken] = [line for line in lines if "exc" in line]
    assert broken["request_id"] == failed.headers["x-request-id"]
    assert broken["msg"] == "POST /v1/chat/completions failed"
    assert broken["exc"].endswith("ZeroDivisionError")
