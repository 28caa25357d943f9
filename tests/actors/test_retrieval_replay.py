"""A memory is computed again from turns that were told of others, as long as what they were told is known."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.keepers.log_compactor import TURNS_BETWEEN_LOOKS
from populace.actors.turn import ChatRequest, Interaction, ModelId
from populace.policies.log_retention import LogLimits
from populace.policies.retrieval import Retrieval
from tests.actors.conftest import MakeHost
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.turns import turn_of, wait_until

ADA = ModelId("acme", "ada")


async def reading(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    """Leave a memory of all that was read, and of which of it was new."""
    assert request.memory is not None
    reply = "Bruno." if request.reply_ids is None else "".join(map(chr, request.reply_ids))
    ids = tuple(map(ord, reply))
    read = repr((request.memory.state, request.memory.new_from, request.prompt, ids))
    yield Delta(reply, ids, 7, finish_reason="stop", memory=hashlib.sha256(read.encode()).digest())


@pytest.fixture
def engine() -> ScriptedEngine:
    one = ScriptedEngine(reading)
    one.base = BASE._replace(memory_module="m" * 64)
    return one


async def say(
    host: ModelHost, text: str, operation: str, *, count: int = 0, history_of: str | None = None
) -> Interaction:
    messages = (Message("user", text),)
    wanted = Retrieval.of(messages, count)
    turn = replace(turn_of(ADA, operation, history_of=history_of), retrieval=wanted)
    return await host.chat(ChatRequest(turn, messages, Sampling()))


async def test_every_position_has_the_memory_that_it_had_whatever_was_told_and_corrected_since(
    make_host: MakeHost, engine: ScriptedEngine, clock: FakeClock
) -> None:
    host = make_host(engine=engine)
    await host.create_model(ADA)
    states: list[bytes | None] = [None]
    for number in range(6):
        clock.advance(1)
        made = await say(
            host, f"dog number {number}", f"op-{number}", count=2, history_of="main" if number % 2 else None
        )
        assert len(made.retrieved) == min(number if number % 2 == 0 else (number + 1) // 2, 2)
        states.append((await host.memories.show(ADA)).state)
        clock.advance(1)
        await host.give_feedback(ADA, number, Opinion(correction=f"Dog {number}."))

    assert [(await host.memories.show(ADA, position)).state for position in range(7)] == states


@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [
        (Opinion(correction="A fine dog."), Opinion(correction="Bruno it is.")),
        (Opinion(thumb=True), Opinion(thumb=False)),
    ],
)
async def test_what_was_judged_while_a_reply_was_made_is_said_again_as_it_was_shown(
    make_host: MakeHost, clock: FakeClock, before: Opinion, meanwhile: Opinion
) -> None:
    started, goes_on = asyncio.Event(), asyncio.Event()

    async def waiting(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        if isinstance(request.prompt[-1], Message) and request.prompt[-1].content == "My dog, again.":
            started.set()
            await goes_on.wait()
        async with aclosing(reading(request)) as deltas:
            async for delta in deltas:
                yield delta

    engine = ScriptedEngine(waiting)
    engine.base = BASE._replace(memory_module="m" * 64)
    host = make_host(engine=engine)
    await host.create_model(ADA)
    await say(host, "My dog is Bruno.", "op-0")
    clock.advance(1)
    await host.give_feedback(ADA, 0, before)
    running = asyncio.create_task(say(host, "My dog, again.", "op-1", count=1))
    await started.wait()
    clock.advance(1)
    await host.give_feedback(ADA, 0, meanwhile)
    clock.advance(1)
    goes_on.set()
    assert (await running).retrieved == (0,)
    after = (await host.memories.show(ADA)).state
    await say(host, "Good day.", "op-2")

    assert (await host.memories.show(ADA, 2)).state == after


async def test_new_messages_are_written_behind_the_message_that_tells_of_others(
    make_host: MakeHost, engine: ScriptedEngine
) -> None:
    host = make_host(engine=engine)
    await host.create_model(ADA)
    await say(host, "My dog is Bruno.", "op-0")

    made = await say(host, "My dog, again.", "op-1", count=1)

    assert [message.role for message in engine.requests[1].prompt if isinstance(message, Message)] == [
        "system",
        "user",
    ]
    uses = [request.memory for request in engine.requests]
    assert [None if use is None else use.new_from for use in uses] == [0, 1]
    assert made.memory is not None
    assert made.memory.written_from == 0, "the log counts the conversation"
    assert [write.messages for write in (await host.memories.show(ADA)).writes] == [1, 1]


async def test_a_turn_that_was_told_what_is_dropped_is_not_said_again(
    make_host: MakeHost, engine: ScriptedEngine
) -> None:
    limits = LogLimits(interactions_min=1, interactions_max=TURNS_BETWEEN_LOOKS // 2)
    host = make_host(engine=engine, limits=HostLimits(operation_seconds_kept=0.0, log=limits))
    await host.create_model(ADA)
    await say(host, "My unicorn is Bruno.", "first")
    for number in range(1, 2 * TURNS_BETWEEN_LOOKS):
        told = number == TURNS_BETWEEN_LOOKS + 1
        made = await say(host, "My unicorn, again." if told else "Good day.", f"op-{number}", count=int(told))
        assert made.retrieved == ((0,) if told else ())

    async def is_compacted() -> bool:
        return (await host.show_model(ADA)).log_start > 0

    await wait_until(is_compacted)
    start = (await host.show_model(ADA)).log_start
    assert start <= TURNS_BETWEEN_LOOKS + 1
    await host.memories.show(ADA, TURNS_BETWEEN_LOOKS + 1)
    with pytest.raises(InvalidRequest, match="what was retrieved for it"):
        await host.memories.show(ADA, TURNS_BETWEEN_LOOKS + 2)
