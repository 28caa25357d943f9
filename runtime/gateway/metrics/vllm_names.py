"""The families of engine replicas under vLLM's names, for dashboards and autoscalers that know these.

The labels are vLLM's: the base, and as ``engine`` the replica. What waits is what waits before the engine,
where requests wait here. ``vllm:lora_requests_info`` is left out: its labels would be people's adapters.
"""

from collections.abc import Iterator, Mapping
from operator import attrgetter

from prometheus_client.core import Metric

from populace.actors.engine import EngineReport
from populace.gateway.metrics.families import Labels, family, histogram
from populace.gateway.metrics.of_engines import (
    by_replica,
    durations_by_replica,
    finished_by_replica,
    of_cache,
    of_work,
)

LABELS = ("model_name", "engine")
GAUGES = {
    "num_requests_running": ("running", "Requests in the engine's batch"),
    "num_requests_waiting": ("waiting", "Requests that wait for a place in the batch"),
}
WORK_COUNTERS = {
    "prompt_tokens": ("prompt_tokens", "Tokens of prompts"),
    "generation_tokens": ("generation_tokens", "Tokens that were chosen"),
}
CACHE_COUNTERS = {
    "prefix_cache_queries": ("query_tokens", "Tokens that were looked for in the cache of prefixes"),
    "prefix_cache_hits": ("hit_tokens", "Tokens that were in the cache of prefixes"),
    "num_preemptions": ("preemptions", "Requests that gave up their cache blocks for others"),
}
HISTOGRAMS = {
    "time_to_first_token_seconds": ("first_token", "Time to the first token"),
    "inter_token_latency_seconds": ("between_tokens", "Time between two tokens"),
    "request_time_per_output_token_seconds": ("per_token", "A request's mean time between two tokens"),
    "e2e_request_latency_seconds": ("whole", "Time of a whole request"),
    "request_queue_time_seconds": ("queue", "Time until the first step"),
    "request_prefill_time_seconds": ("prefill", "Time from the first step to the first token"),
    "request_decode_time_seconds": ("decode", "Time from the first token to the last one"),
}


def vllm_families(engine: EngineReport, base: str) -> Iterator[Metric]:
    """Yield what vLLM shows by itself, as far as it is reported; ``base`` is the model's name."""
    replicas = engine.replicas
    for name, (own, text) in GAUGES.items():
        values = _named(by_replica(replicas, attrgetter(own)), base)
        yield family("gauge", f"vllm:{name}", text, LABELS, values)
    text = "Share of the cache of keys and values that is used, 1 is all"
    used = _named(by_replica(replicas, of_cache(attrgetter("used_share"))), base)
    yield family("gauge", "vllm:kv_cache_usage_perc", text, LABELS, used)
    for name, (own, text) in WORK_COUNTERS.items():
        values = _named(by_replica(replicas, of_work(attrgetter(own))), base)
        yield family("counter", f"vllm:{name}", text, LABELS, values)
    for name, (own, text) in CACHE_COUNTERS.items():
        values = _named(by_replica(replicas, of_cache(attrgetter(own))), base)
        yield family("counter", f"vllm:{name}", text, LABELS, values)
    text = "Requests that ended, by why"
    finished = _named(finished_by_replica(replicas), base)
    yield family("counter", "vllm:request_success", text, (*LABELS, "finished_reason"), finished)
    for name, (own, text) in HISTOGRAMS.items():
        spent = durations_by_replica(replicas, own)
        named = {(base, *key): value for key, value in spent.items()}
        yield histogram(f"vllm:{name}", text, LABELS, named)


def _named(values: Mapping[Labels, float | None], base: str) -> dict[Labels, float | None]:
    return {(base, *key): value for key, value in values.items()}
