"""Prometheus metrics of one gateway, with a bounded number of series: no label names a model or tenant."""

import time
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from populace.actors.engine import EngineReport, TierStatistics
from populace.actors.hosts import HostStatistics
from populace.actors.hosts_report import HostsReport

LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

HOST_GAUGES = ("active", "busy", "waiting", "resident_bytes", "resident_bytes_max")
HOST_COUNTERS = ("turns", "activations", "passivations", "refusals", "commits", "commit_batches")
STORE_GAUGES = {
    "shards_open": "Shards that serve; fewer than shards: some are lost or being checked",
    "file_bytes": "Bytes of the shards' files",
    "free_bytes": "Bytes of the files that hold no row; a compaction gives them back",
    "map_bytes": "Bytes that the files may grow to before their maps are resized",
    "map_share": "Used share of the fullest map",
    "reader_slots": "Reader slots taken in the shard that has most",
    "reader_lag": "Transactions since the oldest snapshot that is read",
    "long_reads": "Reads that last longer than they may and pin freed pages",
    "disk_free_bytes": "Bytes that the file system of the store has left",
}
STORE_COUNTERS = {"full_maps": "Writes that met a full map and had to begin anew"}
ENGINE_GAUGES = ("running", "waiting", "adapters_hot", "adapter_slots")
TIERS = {"hot": "Adapters that the engine reads", "warm": "Adapters in host memory"}
TIER_GAUGES = ("adapters", "bytes", "bytes_max")
TIER_COUNTERS = ("hits", "loads", "loaded_bytes", "evictions")


class GatewayMetrics:
    """Counts requests, and shows what hosts and engine report when it is scraped."""

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
        self._reported = ReportedStatistics()
        self.registry.register(self._reported)

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

    def render(self, hosts: HostsReport, engine: EngineReport | None) -> bytes:
        """Render everything in Prometheus' text format."""
        self._reported.hosts = hosts
        self._reported.engine = engine
        return generate_latest(self.registry)

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(name, help_text, buckets=LATENCY_BUCKETS_S, registry=self.registry)


class ReportedStatistics(Collector):
    """Shows what hosts and engine report now. One that cannot be reached has no samples but ``host_up``."""

    def __init__(self) -> None:
        self.hosts = HostsReport(())
        self.engine: EngineReport | None = None

    def collect(self) -> Iterator[Metric]:
        yield from _of_answers(self.hosts)
        for name in HOST_COUNTERS:
            counter = CounterMetricFamily(f"populace_host_{name}", f"The host's {name}", labels=["host"])
            yield self._by_host(counter, attrgetter(name))
        for name in HOST_GAUGES:
            gauge = GaugeMetricFamily(f"populace_host_{name}", f"The host's {name}", labels=["host"])
            yield self._by_host(gauge, attrgetter(name))
        yield self._by_host(
            GaugeMetricFamily("populace_host_shards", "Shards that the host owns", labels=["host"]),
            lambda host: len(host.shards),
        )
        for name, text in STORE_COUNTERS.items():
            counter = CounterMetricFamily(f"populace_store_{name}", text, labels=["host"])
            yield self._by_host(counter, attrgetter(f"store.{name}"))
        for name, text in STORE_GAUGES.items():
            gauge = GaugeMetricFamily(f"populace_store_{name}", text, labels=["host"])
            yield self._by_host(gauge, attrgetter(f"store.{name}"))
        if self.engine is not None:
            yield from _of_engine(self.engine)

    def _by_host(
        self, family: CounterMetricFamily | GaugeMetricFamily, value_of: Callable[[HostStatistics], float]
    ) -> Metric:
        for answer in self.hosts.answers:
            if answer.statistics is not None:
                family.add_metric([answer.host], value_of(answer.statistics))
        return family


def _of_answers(hosts: HostsReport) -> Iterator[Metric]:
    up = GaugeMetricFamily("populace_host_up", "Whether the host answered, 1 or 0", labels=["host"])
    for answer in hosts.answers:
        up.add_metric([answer.host], int(answer.statistics is not None))
    yield up
    yield GaugeMetricFamily("populace_hosts_configured", "Hosts that there should be", len(hosts.answers))
    text = "Share of the people whose shard no host serves"
    yield GaugeMetricFamily("populace_unserved_share", text, hosts.unserved_share)


def _of_engine(engine: EngineReport) -> Iterator[Metric]:
    for name in ENGINE_GAUGES:
        gauge = GaugeMetricFamily(f"populace_engine_{name}", f"The engine's {name}", labels=["replica"])
        yield _by_replica(
            gauge, {number: getattr(replica, name) for number, replica in engine.replicas.items()}
        )
    for tier, text in TIERS.items():
        of_replicas = {number: getattr(replica, tier) for number, replica in engine.replicas.items()}
        yield from _of_tier(tier, text, of_replicas)
    text = "Requests that this gateway sent to replicas, by why it chose the replica"
    routed = CounterMetricFamily("populace_routed_requests", text, labels=["why"])
    for why, count in engine.routed.items():
        routed.add_metric([why], count)
    yield routed


def _of_tier(tier: str, text: str, replicas: Mapping[int, TierStatistics | None]) -> Iterator[Metric]:
    for kind, names in ((GaugeMetricFamily, TIER_GAUGES), (CounterMetricFamily, TIER_COUNTERS)):
        for name in names:
            values = {
                number: getattr(replica, name) for number, replica in replicas.items() if replica is not None
            }
            known = {number: value for number, value in values.items() if value is not None}
            yield _by_replica(kind(f"populace_{tier}_{name}", f"{text}: {name}", labels=["replica"]), known)


def _by_replica(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[int, float]
) -> CounterMetricFamily | GaugeMetricFamily:
    for number, value in values.items():
        family.add_metric([str(number)], value)
    return family
