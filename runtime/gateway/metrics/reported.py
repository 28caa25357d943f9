"""Shows in one scrape what all other processes reported for it.

Engine replicas are shown under vLLM's names too, for dashboards and autoscalers that know these.
The labels are vLLM's: the base, and as ``engine`` the replica. What waits is what waits before the engine,
where requests wait here. ``vllm:lora_requests_info`` is left out: its labels would be people's adapters.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from populace.actors.engine import EngineReport, EngineStatistics
from populace.actors.hosts import HostStatistics
from populace.actors.hosts_report import HostsReport
from populace.actors.process_use import ProcessUse
from populace.gateway.metrics.families import Labels, family, histogram
from populace.gateway.metrics.of_engines import (
    by_replica,
    durations_by_replica,
    engine_families,
    finished_by_replica,
    of_cache,
    of_work,
)
from populace.gateway.metrics.of_gateways import GatewaysReport, gateway_families
from populace.gateway.metrics.of_processes import ServedFacts, fact_families, process_families
from populace.storage.journal.options import JournalStatistics
from populace.storage.records.durations import DurationCounts

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


VERDICTS = {"promoted": "passed", "rejected": "rejected"}
"""What the evaluation gate said of a candidate, by the state in which its job ended."""

OPEN_STATES = ("waiting", "running", "promoting")


def training_families(hosts: HostsReport) -> Iterator[Metric]:
    """Yield the jobs, steps and verdicts of all hosts that answered."""
    parts = [host.training for host in hosts.statistics]
    opened, ended = Counter[str](), Counter[str]()
    for part in parts:
        opened.update(part.open)
        ended.update(part.ended)
    jobs: dict[Labels, float | None] = {(state,): opened[state] for state in OPEN_STATES}
    yield family("gauge", "populace_training_jobs", "Jobs that have not ended", ("state",), jobs)
    ends: dict[Labels, float | None] = {(state,): count for state, count in ended.items()}
    yield family("counter", "populace_training_ended", "Jobs that ended, by how", ("state",), ends)
    said: dict[Labels, float | None] = {(verdict,): ended[state] for state, verdict in VERDICTS.items()}
    text = "Candidates that the evaluation gate judged, by its verdict"
    yield family("counter", "populace_training_gate", text, ("verdict",), said)
    text = "Steps that were taken"
    yield family("counter", "populace_training_steps", text, (), {(): sum(part.steps for part in parts)})
    text = "Tokens that were learned from, each as often as it was"
    yield family("counter", "populace_training_tokens", text, (), {(): sum(part.tokens for part in parts)})
    text = "When the newest step was reported, in seconds since 1970"
    stepped = _newest_s([part.stepped_ms for part in parts])
    yield family("gauge", "populace_training_step_timestamp_seconds", text, (), {(): stepped})
    text = "When the newest job ended, in seconds since 1970"
    finished = _newest_s([part.finished_ms for part in parts])
    yield family("gauge", "populace_training_finished_timestamp_seconds", text, (), {(): finished})


def _newest_s(moments: list[int | None]) -> float | None:
    newest = max((ms for ms in moments if ms is not None), default=None)
    return None if newest is None else newest / 1000


HOST_COUNTERS = {
    "turns": "Turns that were committed",
    "activations": "Models that came into memory",
    "passivations": "Models that left memory because they were idle",
    "refusals": "Activations that found the memory full of busy models",
    "commits": "Writes that took effect",
    "commit_batches": "Transactions that carried them",
}
HOST_GAUGES = {
    "active": "Models in memory",
    "busy": "Models that have a turn now",
    "waiting": "Turns that wait for their model",
    "resident_bytes": "Bytes of the models in memory",
    "resident_bytes_max": "Bytes that the models in memory may take",
}
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
MEMORY_GAUGES = {
    "memory_states": "Active models that have a memory state",
    "memory_bytes": "Bytes of the memory states of active models",
}
DURATIONS = {
    "populace_host_mailbox_seconds": ("mailbox", "How long turns waited for their model"),
    "populace_store_commit_seconds": ("store.commit", "How long batches of writes took"),
    "populace_store_fsync_seconds": ("store.fsync", "How long it took to make a batch of writes durable"),
}
JOURNAL_GAUGES = {
    "shards": "Shards that are in a journal",
    "behind_bytes": "Bytes of changes that are acknowledged and not in the journal yet",
    "behind_seconds": "How long the oldest of them waits",
}
STORE_COUNTERS = {"full_maps": "Writes that met a full map and had to begin anew"}
HOST = ("host",)


def host_families(hosts: HostsReport) -> Iterator[Metric]:
    """Yield the families of all hosts. One that did not answer has a sample in ``host_up`` alone."""
    up: dict[Labels, float | None] = {
        (answer.host,): int(answer.statistics is not None) for answer in hosts.answers
    }
    yield family("gauge", "populace_host_up", "Whether the host answered, 1 or 0", HOST, up)
    text = "Hosts that there should be"
    yield family("gauge", "populace_hosts_configured", text, (), {(): len(hosts.answers)})
    text = "Share of the people whose shard no host serves"
    yield family("gauge", "populace_unserved_share", text, (), {(): hosts.unserved_share})
    yield from _of_answers(hosts)


def _of_answers(hosts: HostsReport) -> Iterator[Metric]:
    def values(value_of: Callable[[HostStatistics], float]) -> dict[Labels, float | None]:
        return {
            (answer.host,): value_of(answer.statistics)
            for answer in hosts.answers
            if answer.statistics is not None
        }

    for name, text in HOST_COUNTERS.items():
        yield family("counter", f"populace_host_{name}", text, HOST, values(attrgetter(name)))
    for name, text in HOST_GAUGES.items():
        yield family("gauge", f"populace_host_{name}", text, HOST, values(attrgetter(name)))
    text = "Shards that the host owns"
    yield family("gauge", "populace_host_shards", text, HOST, values(lambda host: len(host.shards)))
    for name, text in MEMORY_GAUGES.items():
        yield family("gauge", f"populace_{name}", text, HOST, values(attrgetter(name)))
    text = "Turns that were asked for again, and answered from the log"
    yield family("counter", "populace_replays", text, HOST, values(attrgetter("replays")))
    for name, (attribute, text) in DURATIONS.items():
        spent: dict[Labels, DurationCounts | None] = {
            (answer.host,): attrgetter(attribute)(answer.statistics)
            for answer in hosts.answers
            if answer.statistics is not None
        }
        yield histogram(name, text, HOST, spent)
    text = "When the last backup was finished, in seconds since 1970; none before the first one"
    finished = [host.store.backup_finished_ms for host in hosts.statistics]
    newest = max((ms for ms in finished if ms is not None), default=None)
    seconds = None if newest is None else newest / 1000
    yield family("gauge", "populace_backup_finished_timestamp_seconds", text, (), {(): seconds})
    for name, text in STORE_COUNTERS.items():
        yield family("counter", f"populace_store_{name}", text, HOST, values(attrgetter(f"store.{name}")))
    for name, text in STORE_GAUGES.items():
        yield family("gauge", f"populace_store_{name}", text, HOST, values(attrgetter(f"store.{name}")))
    journals: dict[Labels, JournalStatistics] = {
        (answer.host,): answer.statistics.store.journal
        for answer in hosts.answers
        if answer.statistics is not None and answer.statistics.store.journal is not None
    }
    for name, text in JOURNAL_GAUGES.items():
        found = {host: getattr(journal, name) for host, journal in journals.items()}
        yield family("gauge", f"populace_journal_{name}", text, HOST, found)
    text = "Attempts to write to the journal, or to tidy it, that failed"
    failures: dict[Labels, float | None] = {host: journal.failures for host, journal in journals.items()}
    yield family("counter", "populace_journal_failures", text, HOST, failures)


class Reports(NamedTuple):
    """What was asked for one scrape. ``engine`` is None if no replica answered in time.

    ``trainer`` is what its process takes, None if that is not known.
    """

    hosts: HostsReport
    engine: EngineReport | None
    gateways: GatewaysReport = GatewaysReport((), {})
    trainer: ProcessUse | None = None


class ReportedStatistics(Collector):
    """Shows the reports that it was given last. What cannot be reached has no samples but ``host_up``."""

    def __init__(self, facts: ServedFacts) -> None:
        self.reports = Reports(HostsReport(()), None)
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield from gateway_families(self.reports.gateways.answers)
        yield from fact_families(self._facts, self.reports.engine, self.reports.gateways.configured)
        yield from host_families(self.reports.hosts)
        yield from training_families(self.reports.hosts)
        yield from process_families(_uses(self.reports))
        engine = self.reports.engine
        if engine is None:
            return
        yield from engine_families(engine)
        if self._facts.vllm_names:
            yield from vllm_families(engine, self._facts.base.name)


def _uses(reports: Reports) -> dict[Labels, ProcessUse | None]:
    replicas: Mapping[int, EngineStatistics] = {} if reports.engine is None else reports.engine.replicas
    return {
        **{("gateway", str(report.number)): report.use for report in reports.gateways.answers},
        **{
            ("host", str(number)): None if answer.statistics is None else answer.statistics.process
            for number, answer in enumerate(reports.hosts.answers)
        },
        **{("replica", str(number)): replica.process for number, replica in replicas.items()},
        ("trainer", "0"): reports.trainer,
    }
