"""Every refusal is an OpenAI error body with its own status, and starts nothing."""

import asyncio

import httpx
import pytest

from populace.actors.errors import EngineUnavailable
from tests.runtime.gateway.population import MAILBOX_MAX, Population, chat_body

CHAT = "/v1/chat/completions"


def error_of(response: httpx.Response) -> dict[str, object]:
    """Answer the error object; it has these four fields, and beside them its details and its request's id."""
    body = response.json()
    assert list(body) == ["error"]
    body["error"].pop("details", None)
    assert body["error"].pop("request_id") == response.headers["x-request-id"]
    assert sorted(body["error"]) == ["code", "message", "param", "type"]
    return body["error"]


async def test_an_unknown_route_is_404(client: httpx.AsyncClient) -> None:
    reply = await client.get("/v1/nothing")

    assert reply.status_code == 404
    assert error_of(reply) == {
        "message": "There is no route GET /v1/nothing.",
        "type": "invalid_request_error",
        "param": None,
        "code": "route_not_found",
    }


@pytest.mark.parametrize("path", ["/v1/models/", "//v1/models", "/docs", "/v1/models/a/b", "/" + "x" * 5000])
async def test_a_path_that_is_almost_a_route_is_not_redirected(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)

    assert reply.status_code == 404
    assert len(str(error_of(reply)["message"])) < 1100


async def test_a_host_header_that_is_no_host_does_no_harm(client: httpx.AsyncClient) -> None:
    reply = await client.get("/v1/nothing", headers={"Host": "[::bad"})

    assert reply.status_code == 404


async def test_a_wrong_method_is_405_and_names_the_right_ones(client: httpx.AsyncClient) -> None:
    reply = await client.put(CHAT, json={})

    assert reply.status_code == 405
    assert reply.headers["allow"] == "OPTIONS, POST"
    assert error_of(reply)["code"] == "method_not_allowed"


async def test_a_foreign_model_is_answered_like_one_that_does_not_exist(
    client: httpx.AsyncClient, population: Population
) -> None:
    headers = {"X-Request-Id": "the-same"}
    foreign_before = await client.post(CHAT, json=chat_body(model="grace"), headers=headers)
    await population.create("grace", tenant="globex")

    foreign = await client.post(CHAT, json=chat_body(model="grace"), headers=headers)

    assert foreign.status_code == 404
    assert error_of(foreign)["code"] == "model_not_found"
    assert foreign.content == foreign_before.content
    assert sorted(foreign.headers.items()) == sorted(foreign_before.headers.items())


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_alias_is_404(client: httpx.AsyncClient, stream: bool) -> None:
    reply = await client.post(CHAT, json=chat_body(model="ada@canary", stream=stream))

    assert reply.status_code == 404
    assert error_of(reply)["message"] == "The model `ada` has no revision or alias `canary`."


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_mailbox_is_429_with_a_time_to_retry(
    client: httpx.AsyncClient, population: Population, stream: bool
) -> None:
    population.engine.hold_before = 1
    running = asyncio.create_task(client.post(CHAT, json=chat_body()))
    await population.engine.held.wait()
    waiting = [asyncio.create_task(client.post(CHAT, json=chat_body())) for _ in range(MAILBOX_MAX)]
    await population.wait_waiting(MAILBOX_MAX)

    refused = await client.post(CHAT, json=chat_body(stream=stream))

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-ratelimit-limit-requests"] == str(MAILBOX_MAX)
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] == refused.headers["retry-after"] + "s"
    assert error_of(refused)["type"] == "rate_limit_error"
    population.engine.gate.set()
    replies = await asyncio.gather(running, *waiting)
    assert [reply.status_code for reply in replies] == [200] * (1 + MAILBOX_MAX)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["ada", "base"])
async def test_an_over_long_prompt_is_400(client: httpx.AsyncClient, stream: bool, model: str) -> None:
    reply = await client.post(CHAT, json=chat_body("word " * 1000, model=model, stream=stream))

    assert reply.status_code == 400
    assert error_of(reply)["code"] == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["ada", "base"])
async def test_an_engine_that_is_down_is_503_and_the_message_is_kept(
    client: httpx.AsyncClient, population: Population, stream: bool, model: str
) -> None:
    population.engine.failure = EngineUnavailable("it restarts")

    reply = await client.post(CHAT, json=chat_body(model=model, stream=stream))

    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "2"
    assert error_of(reply)["type"] == "server_error"
    await check_kept(population, model)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_bug_is_500_without_internals_and_the_next_call_is_served(
    client: httpx.AsyncClient, population: Population, stream: bool, model: str
) -> None:
    population.engine.failure = ZeroDivisionError("secret detail")
    broken = await client.post(CHAT, json=chat_body(model=model, stream=stream))
    population.engine.failure = None

    served = await client.post(CHAT, json=chat_body(model=model, stream=stream))

    assert broken.status_code == 500
    assert error_of(broken) == {
        "message": "Populace failed unexpectedly. The log has the details; please report it.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    assert served.status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_turn_that_takes_too_long_is_504(population: Population, stream: bool, model: str) -> None:
    population.turn_seconds_max = 0.02
    population.app = population.make_app()
    population.engine.hold_before = 0

    async with population.client() as client:
        reply = await client.post(CHAT, json=chat_body(model=model, stream=stream))

    assert reply.status_code == 504
    assert error_of(reply)["code"] == "turn_expired"
    await check_kept(population, model)


@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_request_may_set_an_earlier_deadline(population: Population, model: str) -> None:
    population.engine.hold_before = 0

    async with population.client() as client:
        reply = await client.post(CHAT, json=chat_body(model=model, turn_seconds_max=0.05))
        wrong = await client.post(CHAT, json=chat_body(model=model, turn_seconds_max=0))

    assert (reply.status_code, wrong.status_code) == (504, 400)
    assert error_of(wrong)["param"] == "turn_seconds_max"


@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize(
    ("failure", "code"),
    [(EngineUnavailable("it died"), "engine_unavailable"), (ZeroDivisionError(), "internal_error")],
)
async def test_an_error_in_mid_stream_ends_it_with_an_error_event(
    client: httpx.AsyncClient, population: Population, failure: Exception, code: str, model: str
) -> None:
    population.engine.fail_before = 2
    population.engine.failure = failure

    reply = await client.post(CHAT, json=chat_body(model=model, stream=True))

    events = reply.text.split("\n\n")
    assert reply.status_code == 200
    assert len(events) == 4
    assert f'"code":"{code}"' in events[2]
    assert "[DONE]" not in reply.text
    await check_kept(population, model)


async def check_kept(population: Population, model: str) -> None:
    """A person's message has no reply; what is said to the base is in no log."""
    without = [turn.answer is None for turn in await population.log("ada")]
    assert without == [True] * (model == "ada")


async def test_a_stream_that_stalls_ends_by_the_turns_deadline(population: Population) -> None:
    population.turn_seconds_max = 0.05
    population.app = population.make_app()
    population.engine.hold_before = 2

    async with population.client() as client:
        reply = await client.post(CHAT, json=chat_body(model="base", stream=True))

    assert reply.status_code == 200
    assert '"code":"turn_expired"' in reply.text


async def test_an_error_carries_its_fields_so_that_a_client_has_it_whole(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json=chat_body(model="nobody"))

    assert reply.json()["error"]["details"] == {"model": "nobody"}
