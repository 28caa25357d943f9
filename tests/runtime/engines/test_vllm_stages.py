# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""The times that vLLM takes of a request are the stages of its trace, in vLLM's own classes."""

from collections.abc import AsyncGenerator

import pytest

pytest.importorskip("vllm")

from vllm.outputs import RequestOutput
from vllm.v1.metrics.stats import RequestStateStats

from populace.actors import span_names as names
from populace.engines.vllm_engine import with_stages
from populace.telemetry.tracing.spans import TRACER
from tests.runtime.telemetry.recorded import recording

pytestmark = pytest.mark.engine

TIMES = RequestStateStats(queued_ts=10.0, scheduled_ts=11.0, first_token_ts=13.0, last_token_ts=17.0)


def output(*, finished: bool, metrics: RequestStateStats | None = TIMES) -> RequestOutput:
    return RequestOutput("1", None, [1], None, [], finished, metrics=metrics)


async def outputs(*given: RequestOutput) -> AsyncGenerator[RequestOutput, None]:
    for one in given:
        yield one


async def test_the_stages_are_recorded_once_with_the_last_output() -> None:
    with recording() as spans:
        with TRACER.root("request"):
            given = (output(finished=False), output(finished=True))
            assert [found async for found in with_stages(outputs(*given))] == list(given)
        found = spans()

    took = {span.name: ((span.end_time or 0) - (span.start_time or 0)) / 1e9 for span in found}
    assert sorted(took) == sorted(("request", names.QUEUE, names.PREFILL, names.DECODE))
    assert [round(took[name], 6) for name in (names.QUEUE, names.PREFILL, names.DECODE)] == [1, 2, 4]


async def test_an_output_without_times_has_no_stages() -> None:
    with recording() as spans:
        with TRACER.root("request"):
            async for _ in with_stages(outputs(output(finished=True, metrics=None))):
                pass
        assert [span.name for span in spans()] == ["request"]


async def test_while_tracing_is_off_the_outputs_are_left_alone() -> None:
    given = outputs()

    assert with_stages(given) is given
    await given.aclose()
