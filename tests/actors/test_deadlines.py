"""A reply ends at its deadline, whether or not it is read, and what waits to be read is bounded."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import TurnExpired
from populace.actors.turns.choices import AT_ONCE, generate_choices
from populace.actors.turns.deadlines import until
from tests.actors.fakes import ScriptedEngine, delta
from tests.actors.turns import wait_until
from tests.event_loop_time import pass_time

REQUEST = GenerateRequest("r", (Message("user", "Hi."),), Sampling())
LATE = TurnExpired("ada", "it took over 60 s")


async def endless(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    while True:
        yield delta("on")
        await asyncio.sleep(0)


async def silent(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    yield delta("on")
    await asyncio.Event().wait()


@pytest.mark.parametrize("choices", [1, 3])
async def test_a_reply_whose_reader_stopped_reading_leaves_the_engine_at_its_deadline(
    choices: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ScriptedEngine(endless)
    deadline = asyncio.get_running_loop().time() + 60
    async with aclosing(until(generate_choices(engine, REQUEST, choices), deadline, LATE)) as reply:
        await anext(reply)
        held = engine.slots_held
        pass_time(61)

        async def is_free() -> bool:
            return engine.slots_held == 0

        await wait_until(is_free)
        with pytest.raises(TurnExpired, match="over 60 s"):
            await anext(reply)

    assert held == choices
    assert str(LATE) in caplog.text


@pytest.mark.parametrize("choices", [1, 3])
async def test_a_reply_that_is_waited_for_ends_at_its_deadline(
    choices: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ScriptedEngine(silent)
    deadline = asyncio.get_running_loop().time() + 60
    async with aclosing(until(generate_choices(engine, REQUEST, choices), deadline, LATE)) as reply:
        for _ in range(choices):
            await anext(reply)
        waiting = asyncio.ensure_future(anext(reply))
        await asyncio.sleep(0)
        pass_time(61)

        with pytest.raises(TurnExpired, match="over 60 s"):
            await waiting

    assert engine.slots_held == 0
    assert caplog.text == "", "its reader is told, and says so itself"


async def test_a_reply_that_was_read_in_time_has_no_deadline_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        yield delta("Done.", "stop")

    deadline = asyncio.get_running_loop().time() + 60
    reply = until(ScriptedEngine(script).generate(REQUEST), deadline, LATE)
    deltas = [part async for part in reply]
    pass_time(61)
    await asyncio.sleep(0)

    assert [part.text for part in deltas] == ["Done."]
    assert caplog.text == ""


async def test_choices_wait_for_their_reader() -> None:
    made = 0

    async def counted(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        nonlocal made
        async for part in endless(request):
            made += 1
            yield part

    async with aclosing(generate_choices(ScriptedEngine(counted), REQUEST, 3)) as reply:
        await anext(reply)
        for _ in range(1000):
            await asyncio.sleep(0)
        unread = made
        for _ in range(1000):
            await anext(reply)

    assert unread < 2 * AT_ONCE
    assert made >= 1000
