"""The families of engine replicas, under Populace's names."""

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter

from prometheus_client.core import Metric

from populace.actors.engine import EngineReport, EngineStatistics, TierStatistics
from populace.actors.engine_work import CacheWork, EngineWork
from populace.gateway.metrics.families import Kind, Labels, family, histogram
from populace.storage.records.durations import DurationCounts

ENGINE_GAUGES = {
    "running": "Requests in the engine's batch",
    "waiting": "Requests that wait for a place in the batch",
    "adapters_hot": "Different adapters that the batch uses",
    "adapter_slots": "Different adapters that the batch may use",
}
TIERS = {"hot": "Adapters that the engine reads", "warm": "Adapters in host memory"}
TIER_VALUES: Mapping[str, Kind] = {
    "adapters": "gauge",
    "bytes": "gauge",
    "bytes_max": "gauge",
    "hits": "counter",
    "loads": "counter",
    "loaded_bytes": "counter",
    "evictions": "counter",
}
TOKENS = {
    "prompt_tokens": "Tokens of prompts that the engine read, or found in its cache",
    "generation_tokens": "Tokens that the engine chose",
}
DURATIONS = {
    "queue": "From a request's admission to its first step",
    "prefill": "From a request's first step to its first token",
    "decode": "From a request's first token to its last one",
    "first_token": "From a request's admission to its first token",
    "whole": "From a request's admission to its end",
    "between_tokens": "From each token of a request to its next one",
    "per_token": "A request's mean time between two tokens",
}
MEMORY_COUNTERS = {
    "memory_loads": "Requests that brought a memory state",
    "memory_loaded_bytes": "Bytes of the memory states that requests brought",
    "memory_refused": "Requests whose memory state could not be read",
}
CACHE_COUNTERS = {
    "query_tokens": ("prefix_query_tokens", "Tokens that were looked for in the cache of prefixes"),
    "hit_tokens": ("prefix_hit_tokens", "Tokens that were in the cache of prefixes"),
    "preemptions": ("preemptions", "Requests that gave up their cache blocks for others, and began again"),
}
REPLICA = ("replica",)


def engine_families(engine: EngineReport) -> Iterator[Metric]:
    """Yield the families of all replicas that answered. What an engine does not measure has no samples."""
    replicas = engine.replicas
    for name, text in ENGINE_GAUGES.items():
        gauges = by_replica(replicas, attrgetter(name))
        yield family("gauge", f"populace_engine_{name}", text, REPLICA, gauges)
    for tier, text in TIERS.items():
        yield from _tier_families(tier, text, replicas)
    loads: dict[Labels, DurationCounts | None] = {
        (str(number), name): tier.load
        for number, replica in replicas.items()
        for name, tier in (("hot", replica.hot), ("warm", replica.warm))
        if tier is not None
    }
    text = "How long it took to load an adapter: into the engine (hot), or into host memory (warm)"
    yield histogram("populace_adapter_load_seconds", text, (*REPLICA, "tier"), loads)
    yield from _work_families(replicas)


def by_replica(
    replicas: Mapping[int, EngineStatistics], value_of: Callable[[EngineStatistics], float | None]
) -> dict[Labels, float | None]:
    return {(str(number),): value_of(replica) for number, replica in replicas.items()}


def of_work(value_of: Callable[[EngineWork], float]) -> Callable[[EngineStatistics], float | None]:
    """Return what reads a value of an engine's work, if it reports any."""
    return lambda engine: None if engine.work is None else value_of(engine.work)


def of_cache(value_of: Callable[[CacheWork], float]) -> Callable[[EngineStatistics], float | None]:
    """Return what reads a value of an engine's cache, if it has one."""
    return lambda engine: (
        None if engine.work is None or engine.work.cache is None else value_of(engine.work.cache)
    )


def durations_by_replica(
    replicas: Mapping[int, EngineStatistics], name: str
) -> dict[Labels, DurationCounts | None]:
    """Return the durations of this name in ``EngineWork``."""
    return {
        (str(number),): getattr(replica.work, name)
        for number, replica in replicas.items()
        if replica.work is not None
    }


def finished_by_replica(replicas: Mapping[int, EngineStatistics]) -> dict[Labels, float | None]:
    """Return how many requests ended, by replica and reason."""
    return {
        (str(number), reason): count
        for number, replica in replicas.items()
        if replica.work is not None
        for reason, count in replica.work.finished.items()
    }


def _tier_families(tier: str, text: str, replicas: Mapping[int, EngineStatistics]) -> Iterator[Metric]:
    for name, kind in TIER_VALUES.items():

        def value(engine: EngineStatistics, name: str = name) -> float | None:
            found: TierStatistics | None = getattr(engine, tier)
            return None if found is None else getattr(found, name)

        label = f"{text}: {name}"
        yield family(kind, f"populace_{tier}_{name}", label, REPLICA, by_replica(replicas, value))


def _work_families(replicas: Mapping[int, EngineStatistics]) -> Iterator[Metric]:
    for name, text in TOKENS.items():
        values = by_replica(replicas, of_work(attrgetter(name)))
        yield family("counter", f"populace_engine_{name}", text, REPLICA, values)
    for name, text in MEMORY_COUNTERS.items():
        values = by_replica(replicas, of_work(attrgetter(name)))
        yield family("counter", f"populace_{name}", text, REPLICA, values)
    text = "Requests that ended, by why; without those whose caller left"
    finished = finished_by_replica(replicas)
    yield family("counter", "populace_engine_finished", text, (*REPLICA, "finish_reason"), finished)
    for name, text in DURATIONS.items():
        spent = durations_by_replica(replicas, name)
        yield histogram(f"populace_engine_{name}_seconds", text, REPLICA, spent)
    text = "Share of the blocks of the cache of keys and values that are taken"
    used = by_replica(replicas, of_cache(attrgetter("used_share")))
    yield family("gauge", "populace_engine_kv_used_ratio", text, REPLICA, used)
    for name, (shown, text) in CACHE_COUNTERS.items():
        values = by_replica(replicas, of_cache(attrgetter(name)))
        yield family("counter", f"populace_engine_{shown}", text, REPLICA, values)
