"""A tier leaves no process behind, and is measured."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from scripts import tiers
from scripts.supervise import beyond_budget
from tests.house.source_tree import ROOT
from tests.limits import HANG_SECONDS
from tests.living import wait_ended

SUPERVISE = ROOT / "scripts/supervise.py"


def shell(line: str) -> list[str]:
    return ["/bin/sh", "-c", line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_what_is_interrupted_leaves_no_process_behind(number: signal.Signals) -> None:
    """Also none that left its parent's session, as Ray's do."""
    command = [sys.executable, SUPERVISE, *shell("setsid sleep 600 & sleep 600 & echo ready; wait")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        while supervisor.stdout.readline() != "ready\n":
            assert supervisor.poll() is None
        family = psutil.Process(supervisor.pid).children(recursive=True)
        supervisor.send_signal(number)
        assert supervisor.wait(HANG_SECONDS) == 128 + number

    assert len(family) >= 3
    assert wait_ended(family) == []


def test_a_second_signal_does_not_leave_behind_what_is_still_ending() -> None:
    slow = "(trap 'echo asked; sleep 2; exit' TERM; echo ready; while :; do sleep 0.1; done) & wait"
    command = [sys.executable, SUPERVISE, *shell(slow)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "ready\n"
        family = psutil.Process(supervisor.pid).children(recursive=True)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.stdout.readline() == "asked\n"
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(HANG_SECONDS) == 128 + signal.SIGTERM

    assert [one for one in family if one.is_running()] == []


def test_a_supervisor_that_is_killed_takes_along_what_the_one_below_it_started() -> None:
    below = [sys.executable, SUPERVISE, *shell("setsid sleep 600 & echo ready; wait")]
    with subprocess.Popen([sys.executable, SUPERVISE, *below], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        family = psutil.Process(killed.pid).children(recursive=True)
        killed.kill()

    assert len(family) >= 3
    assert wait_ended(family) == []


def test_what_takes_too_long_is_ended_with_one_line() -> None:
    command = [sys.executable, SUPERVISE, "--minutes", "0.005", *shell("exec sleep 600")]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)

    assert ended.returncode == 124
    assert ended.stderr == "It was not done in 0.005 minutes, and is ended.\n"


def test_a_tier_is_measured_with_what_outlived_its_parent() -> None:
    tier = f"probe-{os.getpid()}"
    program = """
import subprocess, sys, tests.notes
tests.notes.count_start("ray")
tests.notes.note_outcomes({"passed": 2}, {"a::b": 31.0})
busy = "import time\\nwhile time.process_time() < 0.5: pass\\nprint(flush=True)\\ntime.sleep(600)"
command = [sys.executable, "-c", busy]
subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE).stdout.readline()
"""

    ran = subprocess.run(
        [sys.executable, SUPERVISE, "--tier", tier, sys.executable, "-c", program],
        cwd=ROOT,
        timeout=HANG_SECONDS,
    )
    report, notes = (ROOT / "build" / "tiers" / f"{tier}.{kind}" for kind in ("json", "notes"))
    measured = json.loads(report.read_text())
    report.unlink()
    notes.unlink()

    assert ran.returncode == 0
    assert measured["starts"] == {"ray": 1}
    assert measured["outcomes"] == {"passed": 2}
    assert measured["long"] == {"a::b": 31.0}
    assert measured["processor_seconds"] >= 0.5, "also of what was still there, until it was ended"


def test_more_than_the_budget_allows_is_named() -> None:
    within = {"starts": {"serve vllm": 1}, "processor_seconds": 1.0}

    assert beyond_budget("test", within) == []
    assert beyond_budget("test", {**within, "starts": {"serve vllm": 9}}) == [
        "9 starts of serve vllm, and 1 are allowed"
    ]
    assert "processor seconds" in beyond_budget("test", {**within, "processor_seconds": 1e6})[0]


@pytest.mark.parametrize(
    ("tier", "outcomes", "status"),
    [
        ("test", {"passed": 1}, 0),
        ("test", {"passed": 0}, 1),
        ("test", {}, 1),
        ("lint", {}, 0),
        ("lint", None, 1),
    ],
)
def test_a_tier_that_passed_no_test_did_not_run_but_for_lint(
    tier: str,
    outcomes: dict[str, int] | None,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tiers, "TIERS", tmp_path)
    measured = {"seconds": 60, "processor_seconds": 1, "starts": {}, "long": {}, "outcomes": outcomes}
    if outcomes is not None:
        (tmp_path / f"{tier}.json").write_text(json.dumps(measured))

    assert tiers.show([tier]) == status
    assert ("did not run" in capsys.readouterr().out) is bool(status)
