"""Servers under a bench end with all their children, and the next is measured when they are at rest."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from populace.settings.environment import process_environment
from scripts.bench.processes import BenchFailed, CpuMeter, cause_in, child, wait_until_idle, wait_until_ready
from tests.limits import HANG_SECONDS
from tests.living import wait_ended

pytestmark = pytest.mark.slow

SPIN = "while True: pass"
SLEEP = "import time; time.sleep(600)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_block_ends_the_command_and_its_children(tmp_path: Path) -> None:
    code = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); time.sleep(600)"
    )
    with child(python(code), process_environment(), tmp_path / "log") as process:
        parent = psutil.Process(process.pid)
        while not parent.children():
            time.sleep(0.05)
        family = [parent, *parent.children()]

    assert wait_ended(family) == []


def test_a_server_that_ends_at_once_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        child(python("raise SystemExit('no port left')"), process_environment(), log) as process,
        pytest.raises(BenchFailed, match="no port left"),
    ):
        wait_until_ready("http://127.0.0.1:9/healthz", process, log)


def test_a_server_that_does_not_start_is_named_with_the_cause_and_not_with_what_followed(
    tmp_path: Path,
) -> None:
    code = (
        "try:\n  raise ValueError('9.7 of 11.2 GiB are free')\n"
        "except ValueError as error:\n  raise RuntimeError('the engine did not start') from error"
    )
    log = tmp_path / "log"
    with (
        child(python(code), process_environment(), log) as process,
        pytest.raises(
            BenchFailed, match=r"ended with 1 before it was ready: ValueError: 9\.7 of 11\.2 GiB are free"
        ),
    ):
        wait_until_ready("http://127.0.0.1:9/healthz", process, log)


def test_a_cause_is_found_behind_what_a_logger_puts_before_it() -> None:
    log = "(EngineCore pid=7) ERROR 11-28 [core.py:1] ValueError: No memory.\nRuntimeError: See above."

    warned = "WARNING 11-28 [system.py:2] This can cause `OSError: [Errno 24] Too many open files`.\n"
    assert cause_in(warned + log) == "ValueError: No memory."
    assert cause_in("Starting\nThe port 8000 is taken.\n") == "The port 8000 is taken."


def test_the_meter_sums_processor_seconds_by_part(tmp_path: Path) -> None:
    with child(python(SPIN), process_environment(), tmp_path / "log") as process:
        meter = CpuMeter(process.pid, lambda _: "spinner")
        meter.start()
        spun = psutil.Process(process.pid)
        while sum(spun.cpu_times()[:2]) < 0.5:
            time.sleep(0.05)

        assert meter.stop()["spinner"] > 0.2


def test_waiting_for_rest_ends_when_the_others_stop_computing(tmp_path: Path) -> None:
    code = (
        "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass\ntime.sleep(600)"
    )
    with child(python(code), process_environment(), tmp_path / "log") as process:
        wait_until_idle([CpuMeter(process.pid, lambda _: "all")], seconds_max=HANG_SECONDS)
        spun = sum(psutil.Process(process.pid).cpu_times()[:2])

    assert spun >= 1.4  # told in hundredths, rounded down


def test_waiting_for_rest_gives_up_in_time(tmp_path: Path) -> None:
    with child(python(SPIN), process_environment(), tmp_path / "log") as process:
        wait_until_idle([CpuMeter(process.pid, lambda _: "all")], seconds_max=2)

        assert process.poll() is None
