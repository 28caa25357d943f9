"""Two checks run at once: both are seen, either fails the whole, and nothing outlives it."""

import signal
import subprocess
import sys

import psutil
import pytest

from tests.house.source_tree import ROOT
from tests.limits import HANG_SECONDS
from tests.living import wait_ended

SIDE_BY_SIDE = ROOT / "scripts/side_by_side.py"


def shell(line: str) -> list[str]:
    return ["/bin/sh", "-c", line]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [(0, 0, 0), (0, 1, 1), (1, 0, 1), (2, 1, 2), (5, 0, 0), (0, 5, 0), (5, 5, 5), (5, 1, 1)],
)
def test_either_fails_the_whole_and_both_are_seen(first: int, second: int, both: int) -> None:
    commands = [*shell(f"echo tests; exit {first}"), "--", *shell(f"echo types; exit {second}")]

    ran = subprocess.run(
        [sys.executable, SIDE_BY_SIDE, *commands], capture_output=True, text=True, timeout=HANG_SECONDS
    )

    assert ran.returncode == both
    assert "tests" in ran.stdout
    assert "types" in ran.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_what_is_interrupted_leaves_no_process_behind(number: signal.Signals) -> None:
    """Also none that left its parent's session, as Ray's do."""
    commands = [*shell("setsid sleep 600 & echo ready; wait"), "--", *shell("exec sleep 600")]
    command = [sys.executable, ROOT / "scripts/supervise.py", sys.executable, SIDE_BY_SIDE, *commands]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        while supervisor.stdout.readline() != "ready\n":
            assert supervisor.poll() is None
        family = psutil.Process(supervisor.pid).children(recursive=True)
        supervisor.send_signal(number)
        assert supervisor.wait(HANG_SECONDS) == 128 + number

    assert len(family) >= 4
    assert wait_ended(family) == []
