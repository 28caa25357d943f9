"""A call of vLLM's workers ends, whatever becomes of their process."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from populace.actors.errors import EngineUnavailable
from tests.limits import HANG_SECONDS

pytest.importorskip("vllm")

from vllm.v1.engine.exceptions import EngineDeadError

from populace.engines import vllm_workers
from populace.engines.vllm_workers import call_workers

pytestmark = pytest.mark.engine


class Process:
    """An engine process in place of vLLM's: it answers, or never does once it is ``silent``."""

    def __init__(self) -> None:
        self.silent = False
        self.errored = False
        self.cancelled = asyncio.Event()

    async def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[Any]:
        if self.silent:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return [(method, args)]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(vllm_workers, "LOOK_SECONDS", 0.001)
    return Process()


async def test_the_answers_of_the_workers_are_returned(process: Any) -> None:
    assert await call_workers(lambda: process, "take", "key", 5) == [("take", ("key", 5))]


async def test_a_call_that_the_process_does_not_survive_fails(process: Any) -> None:
    process.silent = process.errored = True

    async with asyncio.timeout(HANG_SECONDS):
        with pytest.raises(EngineDeadError):
            await call_workers(lambda: process, "take")
        await process.cancelled.wait()


async def test_a_call_in_an_engine_that_is_closed_fails(process: Any) -> None:
    process.silent = True
    engine = SimpleNamespace(llm=process)

    def running() -> Any:
        if engine.llm is None:
            raise EngineUnavailable("it was closed")
        return engine.llm

    call = asyncio.create_task(call_workers(running, "take"))
    await asyncio.sleep(0)
    engine.llm = None

    async with asyncio.timeout(HANG_SECONDS):
        with pytest.raises(EngineUnavailable):
            await call
        await process.cancelled.wait()
