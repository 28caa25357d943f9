"""Benches as they come: what they print, and that those told to end take all they started with them."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from populace.settings.environment import process_environment
from scripts.bench.served_populace import PARTS
from tests.limits import ENGINE_HANG_SECONDS
from tests.living import wait_ended

pytestmark = [pytest.mark.ray, pytest.mark.release("benches")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_a_bench_that_is_ended_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    # Ray's sockets would have too long a name in the test's directory.
    environment = process_environment(TMPDIR=str(tmp_path), RAY_TMPDIR=tempfile.gettempdir())
    process = subprocess.Popen(
        [sys.executable, "-m", "populace", "bench", "identities", "--n", "1000000"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    family: list[psutil.Process] = []
    try:
        family = processes_once_it_works(process, tmp_path)
        process.send_signal(number)

        assert process.wait(ENGINE_HANG_SECONDS) != 0
        assert wait_ended(family) == []
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.wait()
        for one in family:
            if one.is_running():
                one.kill()


def bench(options: str, **variables: str) -> dict[str, Any]:
    """Run a bench with these settings, and return the object that it prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "populace", "bench", *options.split()],
        env=process_environment(**variables),
        capture_output=True,
        text=True,
        timeout=2 * ENGINE_HANG_SECONDS,
    )

    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.engine
def test_the_servers_are_compared() -> None:
    short = "--streams 1 --rounds 1 --requests 1 --reply-tokens 4 --adapters 1 --json"
    printed = bench("serve " + short)

    assert len({(row["system"], row["reply"]) for row in printed["rows"]}) == 2 * 4
    assert all(row["tokens/s"] > 0 for row in printed["rows"])
    assert len(printed["aims"]) == 2 * 2


@pytest.mark.engine
def test_traced_and_untraced_servers_are_compared() -> None:
    short = "--telemetry --streams 1 --rounds 1 --requests 1 --reply-tokens 4 --adapters 0 --json"
    # Four servers; an engine that starts fast will do, since the spans of vLLM's have tests of their own.
    printed = bench("serve " + short, POPULACE_ENGINE="torch")

    assert [row["traced"] for row in printed["rows"]] == [
        "off",
        "off, another",
        "1 % of requests",
        "all requests",
    ]
    assert printed["rows"][0]["ratio"] == 1
    assert len(printed["aims"]) == 3


@pytest.mark.engine
def test_each_process_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    options = "failover --losses processes --engine torch --rounds 1 --clients 2 --json --data"
    printed = bench(f"{options} {tmp_path}", POPULACE_MEMORY_MODULE="none")

    assert list(tmp_path.iterdir()) == []
    assert [row["what"].removesuffix(" is killed") for row in printed["rows"]] == [
        part.what for part in PARTS if "vLLM" not in part.what
    ]
    assert all(row["count"] == 2 for row in printed["rows"])
    aims = {aim["name"]: aim["value"] for aim in printed["aims"]}
    assert aims["acknowledged turns that were lost with processes"] == 0
    assert aims["turns that took effect twice after processes were killed"] == 0
    assert len(aims) == 2 + 2 * 4


def processes_once_it_works(process: subprocess.Popen[bytes], directory: Path) -> list[psutil.Process]:
    """Wait until the bench has a store in ``directory``; answer the processes of its Ray."""
    deadline = time.monotonic() + ENGINE_HANG_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the bench ended"
        if list(directory.glob("*/*")):
            return psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.1)
    raise AssertionError("it did not begin")


@pytest.mark.engine
def test_what_a_flood_costs_other_tenants_is_measured() -> None:
    printed = bench("tenants --quiet 2 --rounds 1 --requests 1 --streams 24 --jobs 20 --engine torch --json")

    asked = [row for row in printed["rows"] if "replies" in row]
    quiet, flood = ([row for row in asked if row["tenant"] == who] for who in ("quiet", "flood"))
    assert [row["replies"] for row in quiet] == [2] * 4
    assert all(row["replies"] > 0 for row in flood)
    assert [row["beside"] for row in printed["rows"][-2:]] == ["nothing else", "20 trainings"]
    assert [aim["met"] for aim in printed["aims"] if "refused" in aim["name"]] == [True]


@pytest.mark.engine
def test_what_it_costs_that_people_differ_is_measured() -> None:
    printed = bench("people --people 1,2 --streams 2 --rounds 1 --requests 1 --reply-tokens 8 --json")

    assert [(row["people"], row["memory"]) for row in printed["rows"]] == [
        ("the base alone", "no"),
        *((people, memory) for memory in ("no", "yes") for people in (1, 2)),
    ]
    assert all(row["tokens/s"] > 0 for row in printed["rows"])
    assert [aim["name"] for aim in printed["aims"]] == [
        "2 people without memory: tokens/s",
        "2 people with memory: tokens/s",
    ]
