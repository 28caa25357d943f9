"""A collector that is away, or slow, costs a line of the log and no more."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Metric

from populace.telemetry.metrics_push.push import MetricsPush, Outcome
from populace.telemetry.resource import process_resource
from tests.limits import HANG_SECONDS
from tests.runtime.telemetry.metrics_push.collector import collector, metrics_in

OFTEN, NEVER = 0.001, 1e6


class Pushing:
    """A push of one counter, with the outcome of each push."""

    def __init__(self, *, seconds: float) -> None:
        registry = CollectorRegistry()
        self.turns = Counter("turns", "Turns", registry=registry)
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self.error: Exception | None = None

        async def collect() -> Iterable[Metric]:
            if self.error is not None:
                raise self.error
            return list(registry.collect())

        resource = process_resource("gateway", 0)
        self.push = MetricsPush(collect, self.outcomes.put_nowait, resource, base="base", seconds=seconds)

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(HANG_SECONDS):
            return await self.outcomes.get()

    async def wait_for(self, outcome: Outcome) -> None:
        while await self.outcome() != outcome:
            pass


@asynccontextmanager
async def pushing(url: str, monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> AsyncGenerator[Pushing]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{url}/v1/metrics")
    running = Pushing(seconds=seconds)
    try:
        yield running
    finally:
        await running.push.close(HANG_SECONDS)
        for thread in threads():
            thread.join(HANG_SECONDS)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What was logged, of ours and of OpenTelemetry."""
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "metrics-push"]


async def test_it_pushes_again_and_again_and_once_more_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as collecting:
        async with pushing(collecting.url, monkeypatch, seconds=OFTEN) as running:
            assert [await running.outcome() for _ in range(3)] == ["delivered"] * 3
            running.turns.inc(41)
            running.turns.inc()
        last = None
        while not collecting.received.empty():
            last = collecting.received.get()
        assert last is not None
        assert metrics_in(last)["turns_total"].sum.data_points[0].as_double == 42
    assert threads() == []


async def test_a_collector_that_is_away_is_logged_once_and_counted_each_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # Less than the exporter waits before it tries again, so that it tries once.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0.7")
    with collector() as gone:
        url, port = gone.url, gone.server_address[1]
    async with pushing(url, monkeypatch, seconds=OFTEN) as running:
        assert [await running.outcome() for _ in range(5)] == ["failed"] * 5
        ((level, line),) = lines(caplog)
        assert level == logging.WARNING
        assert line.startswith("metrics do not reach the collector: Failed to export metrics batch due to")
        assert len(threads()) == 1

        caplog.clear()
        with collector(port) as back:
            await running.wait_for("delivered")
            assert lines(caplog) == [(logging.INFO, "metrics reach the collector again")]
            caplog.clear()
            back.status = 400
            await running.wait_for("failed")
            await running.wait_for("failed")
            ((_, line),) = lines(caplog)
            assert "Bad Request" in line


async def test_a_slow_collector_has_one_push_at_a_time_and_delays_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", str(HANG_SECONDS))
    with collector() as collecting:
        collecting.answers.clear()
        async with pushing(collecting.url, monkeypatch, seconds=OFTEN) as running:
            async with asyncio.timeout(HANG_SECONDS):
                while collecting.most_at_once == 0:  # noqa: ASYNC110 - another thread counts
                    await asyncio.sleep(0.001)
            # The collector answers nothing, so that only its own limit ends this.
            await running.push.close(0.01)
            assert running.outcomes.empty()
            assert [message for _, message in lines(caplog)] == [
                "the last metrics were not pushed within 0.0 s"
            ]
            collecting.answers.set()
        assert collecting.most_at_once == 1


async def test_a_collector_that_never_answers_fails_within_the_time_of_a_push(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0.05")
    with collector() as collecting:
        collecting.answers.clear()
        async with pushing(collecting.url, monkeypatch, seconds=OFTEN) as running:
            assert [await running.outcome() for _ in range(3)] == ["failed"] * 3
            assert len(threads()) == 1


async def test_a_fault_while_the_figures_are_collected_does_not_end_the_pushing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with collector() as collecting:
        async with pushing(collecting.url, monkeypatch, seconds=OFTEN) as running:
            running.error = RuntimeError("a report that cannot be shown")
            await running.wait_for("failed")
            assert ["a report that cannot be shown" in message for _, message in lines(caplog)] == [True]
            running.error = None
            await running.wait_for("delivered")
