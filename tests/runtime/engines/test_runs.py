"""A replica makes each reply once, says what it works on, and remembers what became of it."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from populace.actors.engine import Delta, GenerateRequest, Sampling
from populace.actors.errors import EngineUnavailable, PromptTooLong
from populace.engines import channel
from populace.engines import replica as replica_module
from populace.engines.channel import Silence, TokenReader, TokenSender
from populace.engines.replica import Runs
from tests.limits import HANG_SECONDS
from tests.runtime.engines.receiving import take, take_texts
from tests.runtime.gateway.scripted_engine import BASE, ScriptedEngine

LOOPBACK = "127.0.0.1"
REPLY = ["reply 1", " to", " you"]


def ask(prompt: str = "hello", *, stream: bool = True) -> GenerateRequest:
    return GenerateRequest("request", prompt, Sampling(), stream=stream)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def reader() -> AsyncGenerator[TokenReader]:
    reader = TokenReader(LOOPBACK)
    yield reader
    reader.close()


@pytest.fixture
async def sender() -> AsyncGenerator[TokenSender]:
    sender = TokenSender()
    yield sender
    sender.close()


@pytest.fixture
async def replica(engine: ScriptedEngine, sender: TokenSender) -> AsyncGenerator[Runs]:
    replica = Runs(engine, sender)
    yield replica
    replica.close()


async def test_a_request_that_comes_again_runs_once(
    replica: Runs, engine: ScriptedEngine, reader: TokenReader
) -> None:
    engine.hold_before = 1
    with reader.stream() as (target, queue):
        calls = [asyncio.create_task(replica.run(ask(), target)) for _ in range(2)]
        await engine.held.wait()
        engine.gate.set()

        counts = await asyncio.gather(*calls, replica.run(ask(), target))
        texts = await take_texts(queue, 3)

    assert counts == [3, 3, 3]
    assert texts == REPLY
    assert len(engine.requests) == 1


async def test_two_streams_are_two_requests(
    replica: Runs, engine: ScriptedEngine, reader: TokenReader
) -> None:
    with reader.stream() as (first, _), reader.stream() as (second, _):
        await asyncio.gather(replica.run(ask(), first), replica.run(ask(), second))

    assert len(engine.requests) == 2


async def test_what_ended_a_run_is_told_again(
    replica: Runs, engine: ScriptedEngine, reader: TokenReader
) -> None:
    too_long = ask("word " * BASE.context_tokens)
    with reader.stream() as (target, _):
        for _ in range(2):
            with pytest.raises(PromptTooLong):
                await replica.run(too_long, target)

    assert len(engine.requests) == 1


async def test_a_whole_reply_is_one_delta(replica: Runs, reader: TokenReader) -> None:
    with reader.stream() as (target, queue):
        count = await replica.run(ask(stream=False), target)
        texts = await take_texts(queue, 1)

    assert count == 1
    assert texts == ["".join(REPLY)]


async def test_a_reader_who_leaves_frees_the_engine_and_whoever_else_waits(
    replica: Runs, engine: ScriptedEngine, reader: TokenReader
) -> None:
    engine.hold_before = 0
    with reader.stream() as (target, _):
        leaving, other = (asyncio.create_task(replica.run(ask(), target)) for _ in range(2))
        await engine.held.wait()

        leaving.cancel()
        await engine.wait_freed()
        outcomes = await asyncio.gather(leaving, other, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    assert engine.running == set()


async def test_an_ended_run_is_forgotten_after_a_while(
    replica: Runs, engine: ScriptedEngine, reader: TokenReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "RUN_SECONDS_KEPT", 0.0)
    with reader.stream() as (target, _):
        await replica.run(ask(), target)
        async with asyncio.timeout(HANG_SECONDS):
            while replica._runs:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_a_run_that_takes_long_is_heard_and_a_request_that_nobody_took_is_not(
    engine: ScriptedEngine, sender: TokenSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "SIGN_SECONDS", 0.001)
    monkeypatch.setattr(channel, "LOOK_SECONDS", 0.05)
    engine.hold_before = 0
    replica, reader = Runs(engine, sender), TokenReader(LOOPBACK)
    with reader.stream() as (taken, queue), reader.stream() as (_, silent):
        run = asyncio.create_task(replica.run(ask(), taken))
        await engine.held.wait()
        async with asyncio.timeout(HANG_SECONDS):
            while await silent.get() != Silence(5, accepted=False):
                pass
        while not queue.empty():
            item = queue.get_nowait()
            assert isinstance(item, Silence)
            assert item.looks < 5

        replica.close()
        async with asyncio.timeout(HANG_SECONDS):
            while await queue.get() != Silence(5, accepted=True):
                pass
        run.cancel()
    reader.close()


async def test_of_two_replicas_that_run_a_request_the_first_that_is_heard_counts(
    engine: ScriptedEngine, reader: TokenReader
) -> None:
    senders = [TokenSender(), TokenSender()]
    slow, quick = (Runs(engine, sender) for sender in senders)
    engine.hold_before = 1
    with reader.stream() as (target, queue):
        first = asyncio.create_task(slow.run(ask(), target))
        await engine.held.wait()
        heard = await take_texts(queue, 1)
        engine.gate.set()
        await quick.run(ask(), target)
        await first

        heard += await take_texts(queue, 2)

    assert heard == REPLY
    assert len(engine.requests) == 2
    for one in (slow, quick, *senders):
        one.close()


async def test_tokens_that_are_missing_at_the_end_are_noticed_by_a_sign(
    reader: TokenReader, sender: TokenSender
) -> None:
    with reader.stream() as (target, queue):
        sender.add(target, 0, Delta("first", (1,), 3))
        sender.add_sign(target, 2)

        received = await take(queue, 2)

    assert received[0] == Delta("first", (1,), 3)
    assert isinstance(received[1], EngineUnavailable)
