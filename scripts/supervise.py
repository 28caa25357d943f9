"""Run a command and leave no process of it behind.

    python scripts/supervise.py [--tier NAME] [--minutes LIMIT] COMMAND [ARGUMENT ...]

Ray's and vLLM's processes outlive a parent that dies, in sessions of their own. As the subreaper of
everything below it, this process becomes their parent and ends exactly those, by process id.

A tier of the tests is measured: what it started, which its tests note in a file, and the processor time of
everything below, also of what outlived its parent. More than ``tests/budget.toml`` allows fails the tier, and
``scripts/tiers.py`` shows what each took.
"""

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TIERS = ROOT / "build" / "tiers"
NOTES_VARIABLE = "POPULACE_TEST_NOTES"
"""Names the file to which the tests of a tier note what they start: ``tests/notes.py``."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
GRACE_SECONDS = 10.0
TOO_LONG = 124
"""The exit status of ``timeout``."""


def main() -> int:
    """Run the command; return its exit status once all its descendants are gone."""
    parser = argparse.ArgumentParser(description="Run a command and leave no process of it behind")
    parser.add_argument("--tier", help="measure it as this tier of the tests, and keep it to its budget")
    parser.add_argument("--minutes", type=float, help="end it after so many, with one line that says so")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    tier: str | None = asked.tier
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        end_with_parent()
    for number in STOPS:
        signal.signal(number, stop)
    notes = None if tier is None else begin_notes(tier)
    began = time.monotonic()
    status = 1
    try:
        status = run(asked.command, asked.minutes)
    finally:
        end_descendants()
    status = status if status >= 0 else 128 - status
    if tier is None or notes is None:
        return status
    measured = measure(tier, notes, time.monotonic() - began, status)
    exceeded = beyond_budget(tier, measured)
    for line in exceeded:
        print(f"{tier}: {line} by tests/budget.toml", file=sys.stderr, flush=True)
    return status or bool(exceeded)


def run(command: list[str], minutes: float | None) -> int:
    """Run the command for so long at most; it ends with this process, however that ends."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=None if minutes is None else minutes * 60,
            preexec_fn=end_with_parent,
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"It was not done in {minutes:g} minutes, and is ended.", file=sys.stderr, flush=True)
        return TOO_LONG


def end_with_parent() -> None:
    """Have the kernel ask this process to stop when its parent is gone: a supervisor may be killed, too."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def begin_notes(tier: str) -> Path:
    """Make the empty file for the notes of the tier, and name it to the tests."""
    TIERS.mkdir(parents=True, exist_ok=True)
    (TIERS / f"{tier}.json").unlink(missing_ok=True)
    notes = TIERS / f"{tier}.notes"
    notes.write_text("")
    os.environ[NOTES_VARIABLE] = str(notes)
    return notes


def measure(tier: str, notes: Path, seconds: float, status: int) -> dict[str, Any]:
    """Write what the tier took beside its notes, and return it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    outcomes = Counter[str]()
    for line in lines:
        outcomes.update(line.get("outcomes", {}))
    measured: dict[str, Any] = {
        "status": status,
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "starts": dict(sorted(Counter(line["start"] for line in lines if "start" in line).items())),
        "outcomes": dict(sorted(outcomes.items())),
        "long": {line["long"]: line["seconds"] for line in lines if "long" in line},
    }
    (TIERS / f"{tier}.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return measured


def beyond_budget(tier: str, measured: dict[str, Any]) -> list[str]:
    """Say what the tier took more of than it may."""
    with (ROOT / "tests" / "budget.toml").open("rb") as file:
        budget = tomllib.load(file).get(tier)
    if budget is None:
        return []
    allowed: dict[str, int] = budget["starts"]
    exceeded = [
        f"{count} starts of {kind}, and {allowed.get(kind, 0)} are allowed"
        for kind, count in measured["starts"].items()
        if count > allowed.get(kind, 0)
    ]
    seconds, most = measured["processor_seconds"], budget["processor_seconds"]
    if seconds > most:
        exceeded.append(f"{seconds:.0f} processor seconds, and {most} are allowed")
    return exceeded


def stop(number: int, frame: object) -> None:
    """Leave through ``finally`` when asked to stop."""
    sys.exit(128 + number)


def end_descendants() -> None:
    """Ask every descendant to stop, then kill those that have not after the grace time.

    Whether any is left is the kernel's word: /proc is read in pieces, and a process whose parent ends
    meanwhile is below nobody in what was read.
    """
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)  # a second one would end this before them
    deadline = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while reap():
        late = time.monotonic() > deadline
        for process in descendants(os.getpid()):
            if late or process not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
                asked.add(process)
        time.sleep(0.1)


def descendants(ancestor: int) -> list[int]:
    """List the living processes below ``ancestor``; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command name is in parentheses and may itself hold spaces and parentheses.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def reap() -> bool:
    """Collect the children that have ended; return whether there are others, as orphans below become."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
