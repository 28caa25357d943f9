"""A killed host is found in what it leaves behind, and nothing is found where nothing happened."""

from typing import Any

import pytest
from incident import Attempt, Finding, Incident, Look, findings, look_at, seconds_of, that_waited

KILLED_AT_S = 1_000_000_000.0
NANOSECONDS = 1_000_000_000
UP = {"populace-host-0": 1.0, "populace-host-1": 1.0}
AWAY = {"populace-host-0": 1.0, "populace-host-1": 0.0}


def line(after_s: float, message: str, **fields: Any) -> dict[str, Any]:
    seconds = 46 * 60 + 40 + after_s  # the moment of the kill is 01:46:40
    text = f"2001-09-09T01:{int(seconds // 60):02}:{seconds % 60:09.6f}Z"
    return {"ts": text, "process": "host", "pid": 1, "msg": message, **fields}


def span(process: str, began_s: float, ended_s: float, error: str | None = None) -> dict[str, Any]:
    times = {"began_ns": began_s, "ended_ns": ended_s}
    moments = {name: int((KILLED_AT_S + seconds) * NANOSECONDS) for name, seconds in times.items()}
    return {"process": process, "error": error, **moments}


def attempt(name: str, began_s: float, ended_s: float, status: int | None = 200) -> Attempt:
    return Attempt(f"incident-{name}", name, KILLED_AT_S + began_s, KILLED_AT_S + ended_s, status)


WAITED = attempt("bob", -0.5, 3.0)
INCIDENT = Incident(
    KILLED_AT_S,
    1,
    (attempt("ada", -0.4, 0.2), WAITED, attempt("ada", 0.3, 0.8), attempt("bob", 3.1, 3.9)),
    (
        Look(KILLED_AT_S - 1, UP, {"populace-host-0": 3, "populace-host-1": 4}, 0.0),
        Look(KILLED_AT_S + 1, AWAY, {"populace-host-0": 4}, 0.5),
        Look(KILLED_AT_S + 3, UP, {"populace-host-0": 6, "populace-host-1": 1}, 0.0),
    ),
    (
        line(-30, "host 1 begins"),
        line(2, "host 1 begins", pid=2),
        line(2.1, "shard 1 is owned by populace-host-1 at epoch 2", pid=2),
        line(
            0.1,
            "finish_turn is retried in 0.05 s: The host populace-host-1 is not available: it is restarting.",
            **{
                "process": "gateway",
                "pid": 3,
                "request_id": "incident-bob",
                "error.code": "host_unavailable",
            },
        ),
    ),
    (span("gateway-0", -0.5, 3.0), span("host-1", 2.5, 2.9)),
    WAITED,
)
QUIET = INCIDENT._replace(
    attempts=(WAITED,),
    looks=(INCIDENT.looks[0], INCIDENT.looks[0]._replace(at_s=KILLED_AT_S + 1)),
    lines=INCIDENT.lines[:1],
    spans=(span("gateway-0", -0.5, -0.1), span("host-1", -0.4, -0.2)),
)


def test_the_moment_of_a_line_is_read() -> None:
    assert seconds_of(line(0.25, "")) == KILLED_AT_S + 0.25


def test_a_killed_host_is_seen_in_metrics_log_and_trace() -> None:
    assert [finding for finding in findings(INCIDENT) if not finding.is_there] == []


def test_where_nothing_happened_nothing_is_seen() -> None:
    assert [finding for finding in findings(QUIET) if finding.is_there] == []


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"spans": ()}, {"trace"}),
        ({"lines": ()}, {"log"}),
        ({"looks": INCIDENT.looks[:2]}, {"metrics"}),
        ({"attempts": INCIDENT.attempts[:3]}, {"clients"}),
    ],
)
def test_what_is_not_told_is_missing(change: dict[str, Any], missing: set[str]) -> None:
    found: list[Finding] = findings(INCIDENT._replace(**change))

    assert {finding.where for finding in found if not finding.is_there} == missing


def test_of_the_requests_under_way_that_is_read_whose_host_was_away() -> None:
    slow = attempt("eve", -1, 5)
    attempts = (*INCIDENT.attempts, slow, attempt("late", 1, 9))

    assert that_waited(attempts, INCIDENT.lines, KILLED_AT_S) is WAITED
    assert that_waited(attempts, (), KILLED_AT_S) is slow
    with pytest.raises(SystemExit, match="No request was under way"):
        that_waited(attempts[-1:], (), KILLED_AT_S)


def test_the_metrics_are_read_also_while_a_host_is_away() -> None:
    text = (
        '# TYPE populace_host_up gauge\npopulace_host_up{host="populace-host-0"} 1.0\n'
        'populace_host_up{host="populace-host-1"} 0.0\n'
        '# TYPE populace_host_turns_total counter\npopulace_host_turns_total{host="populace-host-0"} 4.0\n'
        "# TYPE populace_unserved_share gauge\npopulace_unserved_share 0.5\n"
    )

    assert look_at(text, 7.0) == Look(7.0, AWAY, {"populace-host-0": 4.0}, 0.5)
