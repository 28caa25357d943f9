"""Servers as child processes: starting, awaiting readiness, CPU accounting, and ending all their children."""

import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

STOP_SECONDS_MAX = 30.0

IDLE_WINDOW_SECONDS = 1.0
IDLE_SHARE_MAX = 0.25
"""Servers count as idle below this share of a core. Two vLLM servers and a Populace use about 0.12 idle."""


LOG_END_CHARACTERS = 2000

RAISED = re.compile(r"\b(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Refused|Failed): .+")
"""The last line of a Python traceback, after whatever a logger puts before it."""

ONLY_TOLD = re.compile(r"\b(?:WARNING|INFO|DEBUG)\b")
"""A line that is no error, whatever it names: vLLM warns of a limit by the error that it may cause."""


class BenchFailed(Exception):
    """A server did not start, or answered wrongly; the message has the cause and the end of its log."""


@contextmanager
def child(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Generator[subprocess.Popen[bytes]]:
    """Run a command during the block with its output in ``log``; afterwards end it and all its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    family: list[psutil.Process] = []
    try:
        yield process
    finally:
        family = _family(process.pid)
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for orphan in family:
            if orphan.is_running() and orphan.pid != process.pid:
                orphan.kill()


def wait_until_ready(
    url: str, process: subprocess.Popen[bytes], log: Path, *, seconds_max: float = 300.0
) -> None:
    """Wait until ``url`` answers 200. Raises ``BenchFailed`` with the cause if it does not in time."""
    give_up = time.monotonic() + seconds_max
    while time.monotonic() < give_up:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    ended = process.poll()
    how = (
        f"is not ready after {seconds_max:.0f} s"
        if ended is None
        else f"ended with {ended} before it was ready"
    )
    said = log.read_text(errors="replace")
    raise BenchFailed(
        f"{subprocess.list2cmdline(command_of(process))} {how}: {cause_in(said)}\n"
        f"The end of its log:\n{said[-LOG_END_CHARACTERS:]}"
    )


def cause_in(log: str) -> str:
    """Return the first exception that a log names, else its last line.

    Later exceptions follow from the first: vLLM's server ends by another one than the engine process that it
    waits for.
    """
    lines = log.splitlines()
    for line in lines:
        raised = RAISED.search(line)
        if raised is not None and not ONLY_TOLD.search(line):
            return raised[0].strip()
    return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")


def wait_until_idle(meters: Iterable["CpuMeter"], *, seconds_max: float = 20.0) -> None:
    """Wait until the metered processes together use less than ``IDLE_SHARE_MAX`` of a core, or time is up.

    A server may still compute after its last reply: a vLLM with its own thread settings spins for seconds,
    and would slow down the server that is measured next.
    """
    watched = list(meters)
    give_up = time.monotonic() + seconds_max
    while time.monotonic() < give_up:
        for meter in watched:
            meter.start()
        time.sleep(IDLE_WINDOW_SECONDS)
        if sum(sum(meter.stop().values()) for meter in watched) < IDLE_SHARE_MAX * IDLE_WINDOW_SECONDS:
            return


def command_of(process: subprocess.Popen[bytes]) -> list[str]:
    """Return the command that a process was started with, as a list of arguments."""
    arguments = process.args
    return [str(part) for part in arguments] if isinstance(arguments, list) else [str(arguments)]


class CpuMeter:
    """Measures CPU seconds of a process and its descendants, summed by the name that ``part_of`` returns."""

    def __init__(self, pid: int, part_of: Callable[[psutil.Process], str]) -> None:
        self._pid = pid
        self._part_of = part_of
        self._before: dict[int, float] = {}

    def start(self) -> None:
        """Begin to measure, from now on."""
        self._before = {process.pid: _cpu_seconds(process) for process in _family(self._pid)}

    def stop(self) -> dict[str, float]:
        """Return the CPU seconds since ``start`` by part, without processes that ended meanwhile."""
        used: defaultdict[str, float] = defaultdict(float)
        for process in _family(self._pid):
            seconds = _cpu_seconds(process) - self._before.get(process.pid, 0.0)
            used[self._part_of(process)] += seconds
        return used


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system
