"""What an engine that is closed leaves. The last file of its folder: it closes the engines of the others."""

import asyncio

import psutil
import pytest

from populace.actors.engine import GenerateRequest, Message, OwnedEngine, Sampling, joined
from populace.actors.errors import EngineUnavailable
from populace.engines.vllm_engine import VllmEngine
from tests.limits import ENGINE_HANG_SECONDS, HANG_SECONDS

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

FRANCE = (Message("user", "What is the capital of France? Tell me about it."),)
LONG = Sampling(max_tokens=400, ignore_eos=True)


async def ask(engine: OwnedEngine, name: str) -> str:
    return joined([one async for one in engine.generate(GenerateRequest(name, FRANCE, LONG))]).text


async def test_closing_ends_what_is_in_flight_and_leaves_no_process(engine: OwnedEngine) -> None:
    replies = engine.generate(GenerateRequest("open", FRANCE, LONG))
    await anext(replies)
    embedding = asyncio.create_task(engine.embed(["The capital of France is"] * 1000))
    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        await engine.embed(["The capital of France is"])
    waiting = [asyncio.create_task(ask(engine, f"{number}")) for number in range(5)]
    processes = engine_processes() if isinstance(engine, VllmEngine) else []
    assert processes or not isinstance(engine, VllmEngine)

    await asyncio.gather(engine.close(), engine.close())

    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [EngineUnavailable] * 5
    with pytest.raises(EngineUnavailable):
        await embedding
    with pytest.raises(EngineUnavailable):
        [delta async for delta in replies]
    with pytest.raises(EngineUnavailable):
        await ask(engine, "late")
    with pytest.raises(EngineUnavailable):
        await engine.embed(["late"])
    # On a busy machine vLLM kills its process, which takes a moment to be gone.
    assert psutil.wait_procs(processes, timeout=HANG_SECONDS)[1] == []


def engine_processes() -> list[psutil.Process]:
    """vLLM's processes that run and are this one's own: other tests serve a Populace."""
    children = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if " ".join(child.cmdline()).startswith("VLLM::")]
