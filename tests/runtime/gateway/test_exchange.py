"""What an answer makes of a reply, where no population would bring it about."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.responses import Response
from starlette.types import Message as AsgiMessage

from populace.actors.engine import Delta, Message
from populace.actors.turn import Interaction, ModelId, TurnGrant
from populace.actors.turns.running_reply import RunningReply
from populace.actors.turns.turn_director import completion_id
from populace.gateway.completions.exchange import Begin, Exchange
from populace.gateway.completions.wire import ReplyShape
from populace.gateway.http.errors import TEXT_LENGTH_MAX, error_body
from populace.gateway.http.event_stream import EventStream
from populace.gateway.http.metrics import GatewayMetrics
from populace.gateway.metrics.of_processes import ServedFacts
from populace.gateway.responses.exchange import ResponseExchange
from tests.runtime.gateway.scripted_engine import BASE

ADA = ModelId("acme", "ada")
GRANT = TurnGrant(
    model=ADA,
    created_ms=0,
    operation="key-k",
    body_hash=b"",
    grant_id="1",
    position=4,
    revision="base",
    adapter=None,
    base=BASE.fingerprint,
    memory_version=0,
    history=(),
    history_of=None,
    turn_seconds_max=60.0,
)
DELTAS = (Delta("good ", (1,), 2), Delta("day", (2,), 2, (), "stop"))


def recorded(reply: str) -> Interaction:
    """The turn of ``GRANT`` as an earlier call committed it."""
    return Interaction(
        model=ADA,
        position=4,
        operation="key-k",
        completion_id="chatcmpl-1",
        messages=(Message("user", "hello"),),
        reply=reply,
        finish_reason="stop",
        prompt_tokens=2,
        completion_tokens=2,
        revision="base",
        base=BASE.fingerprint,
        memory_version=0,
        created_ms=5000,
        replayed=True,
    )


def ending_with(turn: Interaction) -> Begin:
    """Begin a reply of ``DELTAS``, which the log holds as ``turn`` in the end."""

    async def begin() -> RunningReply:
        async def deltas() -> AsyncGenerator[Delta, None]:
            for number, delta in enumerate(DELTAS, 1):
                if number == len(DELTAS):
                    reply.interaction = turn
                yield delta

        reply = RunningReply(deltas(), grant=GRANT)
        return reply

    return begin


async def body_of(response: Response) -> str:
    """Run a response for a client that stays to its end."""
    ended = asyncio.Event()
    chunks: list[bytes] = []

    async def receive() -> AsgiMessage:
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: AsgiMessage) -> None:
        chunks.append(message.get("body", b""))

    await response({"type": "http"}, receive, send)
    return b"".join(chunks).decode()


@pytest.fixture
def exchange() -> Exchange:
    metrics = GatewayMetrics(ServedFacts(BASE))
    return Exchange(metrics, BASE, "ada", ReplyShape(is_chat=True), False, metrics.started())


async def test_a_stream_that_another_call_overtook_does_not_end_as_if_it_were_recorded(
    exchange: Exchange,
) -> None:
    response = await exchange.streamed(ending_with(recorded("another reply")))

    body = await body_of(response)

    assert '"code":"turn_expired"' in body
    assert "[DONE]" not in body


async def test_a_stream_whose_commit_took_effect_at_an_earlier_try_ends_well(exchange: Exchange) -> None:
    response = await exchange.streamed(ending_with(recorded("good day")))

    body = await body_of(response)

    assert '"replayed":true' in body
    assert body.endswith("data: [DONE]\n\n")


async def test_a_whole_answer_is_what_the_log_holds(exchange: Exchange) -> None:
    response = await exchange.whole(ending_with(recorded("another reply")))

    assert '"content":"another reply"' in await body_of(response)


@pytest.fixture
def responses() -> ResponseExchange:
    metrics = GatewayMetrics(ServedFacts(BASE))
    return ResponseExchange(metrics, BASE, {"model": "ada"}, (), metrics.started(), None)


@pytest.mark.parametrize("overtaken_by", [{"reply": "another reply"}, {"position": 3}])
async def test_a_response_that_another_call_overtook_fails_in_its_stream_and_is_that_ones_as_a_whole(
    responses: ResponseExchange, overtaken_by: dict[str, Any]
) -> None:
    turn = replace(recorded("good day"), completion_id=completion_id(GRANT), **overtaken_by)

    events = await body_of(await responses.streamed(ending_with(turn)))
    whole = json.loads(await body_of(await responses.whole(ending_with(turn))))

    assert '"code":"turn_expired"' in events
    assert "response.completed" not in events
    assert whole["id"] == f"resp_ada_{turn.position}_{turn.completion_id[-16:]}"
    assert whole["output"][0]["content"][0]["text"] == turn.reply


async def test_a_response_whose_commit_took_effect_at_an_earlier_try_ends_well(
    responses: ResponseExchange,
) -> None:
    turn = replace(recorded("good day"), completion_id=completion_id(GRANT))

    assert "event: response.completed" in await body_of(await responses.streamed(ending_with(turn)))


async def test_a_client_that_is_gone_before_the_first_event_leaves_nothing_open() -> None:
    closed: list[str] = []

    async def source() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("source")

    async def events() -> AsyncGenerator[bytes, None]:
        yield b"never sent"

    async def receive() -> AsgiMessage:
        return {"type": "http.disconnect"}

    async def send(message: AsgiMessage) -> None:
        del message
        await asyncio.Event().wait()

    turn = source()
    await anext(turn)
    response = EventStream(events(), turn, {})

    await response({"type": "http"}, receive, send)

    assert closed == ["source"]


def test_an_error_quotes_its_caller_readably() -> None:
    body = error_body("\ud800" + "x" * 5000, status=400, code="c", parameter="\udfff")

    assert body["error"]["message"] == "\\ud800" + "x" * (TEXT_LENGTH_MAX - 1) + "…"
    assert body["error"]["param"] == "\\udfff"
