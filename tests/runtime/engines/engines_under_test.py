"""Starts vLLM, and both engines over one base for the suites that compare them: nothing else does."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from populace.actors.engine import OwnedEngine
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine
from tests.limits import THREADS
from tests.notes import count_start

if TYPE_CHECKING:
    from populace.engines.vllm_engine import VllmEngine

ENGINES = ("torch", "vllm")


@asynccontextmanager
async def both_engines(
    options: EngineOptions, **vllm_arguments: Any
) -> AsyncGenerator[dict[str, OwnedEngine]]:
    """Start both engines with the same options, and vLLM's with these arguments of its own."""
    # Beside vLLM's threads, waiting for a second one takes longer than its help saves.
    torch_engine = await TorchEngine.start(options._replace(threads=1))
    async with vllm_engine(options, **vllm_arguments) as started:
        try:
            yield {"torch": torch_engine, "vllm": started}
        finally:
            await torch_engine.close()


@asynccontextmanager
async def vllm_engine(options: EngineOptions, **vllm_arguments: Any) -> "AsyncGenerator[VllmEngine]":
    """Start vLLM. A test that asks for this and is no part of a shared folder is of the release tier."""
    from populace.engines.vllm_engine import VllmEngine

    count_start("vllm")
    started = await VllmEngine.start(options._replace(threads=THREADS), vllm_arguments=vllm_arguments)
    try:
        yield started
    finally:
        await started.close()
