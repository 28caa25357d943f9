"""Both engines over one base, for the suites that compare them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from populace.actors.engine import OwnedEngine
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine
from tests.notes import count_start


@asynccontextmanager
async def both_engines(
    options: EngineOptions, **vllm_arguments: Any
) -> AsyncGenerator[dict[str, OwnedEngine]]:
    """Start both engines with the same options, and vLLM's with these arguments of its own."""
    from populace.engines.vllm_engine import VllmEngine

    # Beside vLLM's threads, waiting for a second one takes longer than its help saves.
    count_start("vllm")
    torch_engine = await TorchEngine.start(options._replace(threads=1))
    vllm_engine = await VllmEngine.start(options, vllm_arguments=vllm_arguments)
    yield {"torch": torch_engine, "vllm": vllm_engine}
    await torch_engine.close()
    await vllm_engine.close()
