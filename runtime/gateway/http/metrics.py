"""Prometheus metrics: what this gateway counts itself, and a page of all that is known.

The number of series is bounded: no label names a model or tenant.
"""

import time
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from populace.gateway.http.errors import ANSWERED
from populace.gateway.metrics.families import Labels, family
from populace.gateway.metrics.of_gateways import GatewayReport
from populace.gateway.metrics.of_processes import ServedFacts
from populace.gateway.metrics.reported import ReportedStatistics, Reports
from populace.telemetry.tracing.own_process import own_process_use

LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

TOKEN_BUCKETS = tuple(4**power for power in range(14))
"""Those of OpenTelemetry's conventions for how many tokens a request takes, from 1 to 67,108,864."""


class GatewayMetrics:
    """Counts requests, and shows what the other processes report when it is scraped."""

    def __init__(self, facts: ServedFacts) -> None:
        self._own = CollectorRegistry()
        self._requests = Counter(
            "populace_http_requests", "HTTP requests", ["route", "status"], registry=self._own
        )
        self._tokens = ReplyTokens()
        self._own.register(self._tokens)
        self._first_token_s = self._histogram(
            "populace_first_token_seconds", "Request to first streamed token"
        )
        self._reply_s = self._histogram("populace_reply_seconds", "Request to the end of the reply")
        self._pushes = Counter(
            "populace_metrics_pushes",
            "Pushes of all metrics to a collector, by how they ended",
            ["outcome"],
            registry=self._own,
        )
        self._own.register(AnsweredErrors())
        self._reported = ReportedStatistics(facts)
        self._page = CollectorRegistry()
        self._page.register(self._reported)

    def started(self) -> float:
        return time.perf_counter()

    def first_token(self, started: float) -> None:
        self._first_token_s.observe(time.perf_counter() - started)

    def replied(self, started: float, prompt_tokens: int, completion_tokens: int) -> None:
        self._reply_s.observe(time.perf_counter() - started)
        self._tokens.add(prompt_tokens, completion_tokens)

    def answered(self, route: str, status: int) -> None:
        self._requests.labels(route, str(status)).inc()

    def pushed(self, outcome: str) -> None:
        """Count a push, ``delivered`` or ``failed``."""
        self._pushes.labels(outcome).inc()

    def own(self, number: int, address: str, routed: Mapping[str, int]) -> GatewayReport:
        """Return what this gateway counts, under its number; ``routed`` is as ``EngineProbe`` says."""
        text = "Requests that the gateway sent to replicas, by why it chose the replica"
        sent: dict[Labels, float | None] = {(why,): count for why, count in routed.items()}
        routes = family("counter", "populace_routed_requests", text, ("why",), sent)
        return GatewayReport(number, address, (*self._own.collect(), routes), own_process_use())

    def render(self, reports: Reports) -> bytes:
        """Render everything in Prometheus' text format."""
        self._reported.reports = reports
        return generate_latest(self._page)

    def families(self, reports: Reports) -> list[Metric]:
        """Return everything, as ``render`` shows it."""
        self._reported.reports = reports
        return list(self._page.collect())

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(name, help_text, buckets=LATENCY_BUCKETS_S, registry=self._own)


class ReplyTokens(Collector):
    """Shows the tokens of replies: how many each one took, and all together, of the same observations."""

    def __init__(self) -> None:
        self._taken = Histogram(
            "populace_reply_tokens",
            "Tokens of a reply",
            ["kind"],
            buckets=TOKEN_BUCKETS,
            registry=None,
        )

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        self._taken.labels("prompt").observe(prompt_tokens)
        self._taken.labels("completion").observe(completion_tokens)

    def collect(self) -> Iterator[Metric]:
        for taken in self._taken.collect():
            yield taken
            totals: dict[Labels, float | None] = {
                (sample.labels["kind"],): sample.value
                for sample in taken.samples
                if sample.name.endswith("_sum")
            }
            yield family("counter", "populace_tokens", "Tokens of replies", ("kind",), totals)


class AnsweredErrors(Collector):
    """Shows how many errors were answered, by their code, which also an error within a stream has."""

    def collect(self) -> Iterator[Metric]:
        text = "Errors that were answered, also within streams"
        yield family(
            "counter",
            "populace_errors",
            text,
            ("code",),
            {(code,): count for code, count in ANSWERED.items()},
        )
