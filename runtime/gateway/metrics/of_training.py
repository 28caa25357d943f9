"""The families of training, added up over the hosts that write its jobs down."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric

from populace.actors.hosts_report import HostsReport
from populace.gateway.metrics.families import Labels, family

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
