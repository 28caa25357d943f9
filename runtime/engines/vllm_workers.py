# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Calls of what Populace added to vLLM's workers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from populace.actors.span_names import WORKER_CALL, WORKER_METHOD
from populace.telemetry.tracing.spans import TRACER

LOOK_SECONDS = 1.0
"""How often a caller looks whether the process that is to answer lives."""


async def call_workers(llm: Callable[[], AsyncLLM], method: str, *arguments: Any) -> list[Any]:
    """Call a method of each worker, between two steps, and return their answers.

    Raises ``EngineDeadError`` if the process dies meanwhile, which vLLM would leave the caller waiting for,
    and what ``llm`` raises once the engine is closed.
    """
    rpc = cast("Callable[..., Coroutine[Any, Any, list[Any]]]", llm().collective_rpc)
    call = asyncio.create_task(rpc(method, args=arguments))
    try:
        with TRACER.span(WORKER_CALL, {WORKER_METHOD: method}):
            while not call.done():
                await asyncio.wait((call,), timeout=LOOK_SECONDS)
                if not call.done() and llm().errored:
                    raise EngineDeadError
            return call.result()
    finally:
        call.cancel()
