"""`make test` runs pyright beside pytest: both are seen, either fails it, and nothing outlives it."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.house.source_tree import ROOT
from tests.limits import HANG_SECONDS
from tests.living import wait_ended


def commands(folder: Path, *, tests: str, types: str) -> Path:
    """Write a pytest and a pyright of these shell lines; answer the Python that has them beside it."""
    for name, code in (("pytest", tests), ("pyright", types)):
        (folder / name).write_text(f"#!/bin/sh\necho {name} says it\n{code}\n")
        (folder / name).chmod(0o755)
    python = folder / "python"
    python.symlink_to(sys.executable)
    return python


@pytest.mark.parametrize("tests", [0, 1])
@pytest.mark.parametrize("types", [0, 1])
def test_either_fails_the_check_and_both_are_seen(tmp_path: Path, tests: int, types: int) -> None:
    python = commands(tmp_path, tests=f"exit {tests}", types=f"exit {types}")

    ran = subprocess.run(
        [python, ROOT / "scripts/check.py"], capture_output=True, text=True, timeout=HANG_SECONDS
    )

    assert ran.returncode == (tests or types)
    assert "pytest says it" in ran.stdout
    assert "pyright says it" in ran.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_what_is_interrupted_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Also none that left its parent's session, as Ray's do."""
    python = commands(tmp_path, tests="setsid sleep 600 & echo ready; wait", types="exec sleep 600")
    command = [sys.executable, ROOT / "scripts/supervise.py", python, ROOT / "scripts/check.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        while supervisor.stdout.readline() != "ready\n":
            assert supervisor.poll() is None
        family = psutil.Process(supervisor.pid).children(recursive=True)
        supervisor.send_signal(number)
        assert supervisor.wait(HANG_SECONDS) == 128 + number

    assert len(family) >= 4
    assert wait_ended(family) == []
