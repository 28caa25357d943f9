"""Prometheus metrics of one gateway, with a bounded number of series: no label names a model or tenant."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from populace.actors.engine import EngineStatistics
from populace.actors.hosts import HostStatistics

LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

HOST_GAUGES = ("active", "busy", "waiting", "resident_bytes", "resident_bytes_max")
HOST_COUNTERS = ("turns", "activations", "passivations", "refusals", "commits", "commit_batches")
ENGINE_GAUGES = ("running", "waiting", "adapters_hot", "adapter_slots")


class GatewayMetrics:
    """Counts what passes through, and mirrors what hosts and engine report when it is scraped."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "populace_http_requests", "HTTP requests", ["route", "status"], registry=self.registry
        )
        self._tokens = Counter("populace_tokens", "Tokens of replies", ["kind"], registry=self.registry)
        self._first_token_s = self._histogram(
            "populace_first_token_seconds", "Request to first streamed token"
        )
        self._reply_s = self._histogram("populace_reply_seconds", "Request to the end of the reply")
        self._mirrored: dict[str, Gauge] = {}

    def started(self) -> float:
        return time.perf_counter()

    def first_token(self, started: float) -> None:
        self._first_token_s.observe(time.perf_counter() - started)

    def replied(self, started: float, prompt_tokens: int, completion_tokens: int) -> None:
        self._reply_s.observe(time.perf_counter() - started)
        self._tokens.labels("prompt").inc(prompt_tokens)
        self._tokens.labels("completion").inc(completion_tokens)

    def answered(self, route: str, status: int) -> None:
        self._requests.labels(route, str(status)).inc()

    def render(self, hosts: tuple[HostStatistics, ...], engine: EngineStatistics | None) -> bytes:
        """Render everything in Prometheus' text format."""
        for host in hosts:
            for name in (*HOST_GAUGES, *HOST_COUNTERS):
                self._mirror(f"populace_host_{name}", "host").labels(host.host).set(getattr(host, name))
        if engine is not None:
            for name in ENGINE_GAUGES:
                self._mirror(f"populace_engine_{name}", "engine").labels("engine").set(getattr(engine, name))
        return generate_latest(self.registry)

    def _mirror(self, name: str, label: str) -> Gauge:
        if name not in self._mirrored:
            help_text = f"As reported by the {label}: {name.rsplit('_', 1)[-1]}"
            self._mirrored[name] = Gauge(name, help_text, [label], registry=self.registry)
        return self._mirrored[name]

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(name, help_text, buckets=LATENCY_BUCKETS_S, registry=self.registry)
