"""The stages of a reply as vLLM has measured them, for traces."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vllm.outputs import RequestOutput

from populace.engines.stages import Stages, record_stages
from populace.telemetry.tracing.spans import TRACER


def with_stages(outputs: AsyncGenerator[RequestOutput, None]) -> AsyncGenerator[RequestOutput, None]:
    """Yield the same outputs, and record the stages of the request before its last one, if traces are on."""
    return _recorded(outputs) if TRACER.is_on else outputs


async def _recorded(outputs: AsyncGenerator[RequestOutput, None]) -> AsyncGenerator[RequestOutput, None]:
    async with aclosing(outputs):
        async for output in outputs:
            times = output.metrics
            if output.finished and times is not None:
                # vLLM's process takes them by the monotonic clock of this machine.
                record_stages(
                    Stages(times.queued_ts, times.scheduled_ts, times.first_token_ts, times.last_token_ts)
                )
            yield output
