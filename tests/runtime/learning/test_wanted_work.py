"""What is no longer wanted ends, wherever it waits, and leaves nothing behind."""

import asyncio
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from populace.actors.engine import Message
from populace.actors.errors import TrainingStopped
from populace.learning.on_policy.sampler import EngineSampler
from populace.learning.wanted_work import check_wanted, only_while, while_wanted
from populace.storage.revisions import RevisionFiles
from tests.actors.fakes import Dictation, ScriptedEngine, delta

PROMPTS = [(Message("user", "Who?"),), (Message("user", "And where?"),)]


@pytest.fixture
def loop() -> Generator[asyncio.AbstractEventLoop]:
    """The loop of an engine, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_replies_that_are_no_longer_wanted_are_cancelled_in_the_engine(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    script = Dictation()  # which says nothing: only the end of the wish ends these replies
    engine = ScriptedEngine(script)
    sampler = EngineSampler(engine, loop, RevisionFiles(tmp_path))

    with only_while(lambda: not script.started.is_set(), "ada"), pytest.raises(TrainingStopped, match="ada"):
        sampler.answers(None, PROMPTS, tokens_max=4)

    assert len(engine.requests) == 2
    assert engine.slots_held == 0


def test_replies_that_are_wanted_are_waited_for(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    script, asked = Dictation(), 0

    def is_wanted() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            loop.call_soon_threadsafe(script.say, delta("Ada.", "stop"), delta("Here.", "stop"))
        return True

    with only_while(is_wanted, "ada"):
        replies = EngineSampler(ScriptedEngine(script), loop, RevisionFiles(tmp_path)).answers(
            None, PROMPTS, tokens_max=4
        )

    assert sorted(reply.reply for reply in replies) == ["Ada.", "Here."]


async def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise LookupError("of its own")

    with only_while(lambda: True, "ada"), pytest.raises(LookupError, match="of its own"):
        await while_wanted(fail())


def test_outside_of_a_training_everything_is_wanted() -> None:
    with only_while(lambda: False, "ada"), pytest.raises(TrainingStopped):
        check_wanted()

    check_wanted()
