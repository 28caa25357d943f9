"""The families of hosts and of their store."""

from collections.abc import Callable, Iterator
from operator import attrgetter

from prometheus_client.core import Metric

from populace.actors.hosts import HostStatistics
from populace.actors.hosts_report import HostsReport
from populace.gateway.metrics.families import Labels, family, histogram
from populace.storage.journal.options import JournalStatistics
from populace.storage.records.durations import DurationCounts

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
