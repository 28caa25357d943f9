"""Every metric that a gateway shows, and their table in ``docs/observability.md``.

``python -m tests.runtime.gateway.metrics_page`` writes the table anew; look at it before you commit it.
"""

from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from populace.actors.engine import BaseInfo, EngineReport, EngineStatistics, TierStatistics
from populace.actors.engine_work import CacheWork, EngineWork
from populace.actors.hosts import HostStatistics, StoreStatistics
from populace.actors.hosts_report import HostAnswer, HostsReport
from populace.actors.process_use import ProcessUse
from populace.actors.training_statistics import TrainingStatistics
from populace.gateway.http.errors import error_body
from populace.gateway.http.metrics import GatewayMetrics
from populace.gateway.metrics.of_gateways import GatewaysReport
from populace.gateway.metrics.of_processes import ServedFacts
from populace.gateway.metrics.reported import Reports
from populace.storage.records.durations import DurationCounts

PAGE = Path(__file__).parents[3] / "docs/observability.md"
BEGIN, END = "<!-- metrics: written by tests/runtime/gateway/metrics_page.py -->", "<!-- end of metrics -->"

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}

NONE = DurationCounts()
USE = ProcessUse(1.0, 1)
STORE = StoreStatistics(1, 2, 3, 4, 0.5, 6, 7, 8, 9, 10, commit=NONE, fsync=NONE, backup_finished_ms=1)
HOST = HostStatistics(
    host="populace-host-0",
    shards=(0,),
    active=1,
    busy=1,
    waiting=1,
    resident_bytes=1,
    resident_bytes_max=1,
    turns=1,
    activations=1,
    passivations=1,
    refusals=1,
    commits=1,
    commit_batches=1,
    store=STORE,
    mailbox=NONE,
    replays=1,
    memory_states=1,
    memory_bytes=1,
    process=USE,
    training=TrainingStatistics({"waiting": 1}, {"promoted": 1}, 1, 1, 1, 1),
)
WORK = EngineWork(
    prompt_tokens=1,
    generation_tokens=1,
    finished={"stop": 1},
    queue=NONE,
    prefill=NONE,
    decode=NONE,
    first_token=NONE,
    whole=NONE,
    between_tokens=NONE,
    per_token=NONE,
    cache=CacheWork(0.5, 1, 1, 1),
)
TIER = TierStatistics(1, 1, 1, 1, 1, 1, 1, NONE)
ENGINE = EngineStatistics(1, 1, 1, 1, hot=TIER, warm=TIER, work=WORK, process=USE)


class Shown(NamedTuple):
    """A metric as it is shown: its name without what its samples add, its type, its labels, its text."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that a query may have."""
        return tuple(self.name + suffix for suffix in SUFFIXES[self.kind])

    @property
    def row(self) -> str:
        name = f"{self.name}_total" if self.kind == "counter" else self.name
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return f"| `{name}` | {self.kind} | {labels} | {self.text} |"


def shown_metrics(*, vllm_names: bool = False) -> list[Shown]:
    """Return all metrics of a gateway that counted everything, over hosts and engines that report all."""
    metrics = GatewayMetrics(ServedFacts(BaseInfo("base", "f" * 64, 2048), vllm_names=vllm_names))
    metrics.answered("/v1/chat/completions", 200)
    metrics.first_token(metrics.started())
    metrics.replied(metrics.started(), 1, 1)
    metrics.pushed("delivered")
    error_body("an error", status=500, code="internal_error")
    hosts = HostsReport((HostAnswer(HOST.host, 1, HOST),))
    gateways = GatewaysReport((metrics.own(0, "127.0.0.1:8000", {"hot": 1}),), {})
    text = metrics.render(Reports(hosts, EngineReport({0: ENGINE}), gateways, USE)).decode()
    shown: list[Shown] = []
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):  # when a counter of this process began, which is no figure
            continue
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        shown.append(Shown(family.name, family.type, tuple(sorted(labels)), family.documentation))
    return sorted(shown)


def table() -> str:
    rows = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    return "\n".join([BEGIN, *rows, *(metric.row for metric in shown_metrics()), END])


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(before + table() + after, encoding="utf-8")
