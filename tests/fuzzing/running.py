"""Feeds changed samples to what reads them, and notes what must not happen.

A target may refuse an input by a named error, or accept it and then be able to read it. Anything else is a
finding: another error, more processor time or memory than the bounds, something accepted that is of no use.
"""

import random
import signal
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from populace.storage.records.errors import PopulaceError

PROCESSOR_SECONDS_MAX = 20.0
"""Of the process, user and system: a busy machine makes nothing slower by this clock."""

BYTES_MAX = 128 * 2**20
"""What one input may have allocated at a time, by Python and numpy; most inputs have some kilobytes."""


class Hung(BaseException):
    """An input took more processor time than it may. No handler of errors catches it."""


class Target(Protocol):
    """Something that reads bytes of others."""

    def made(self, source: random.Random) -> bytes:
        """Make an input that depends on ``source`` alone."""
        ...

    def feed(self, data: bytes) -> str | None:
        """Read the input and use what was accepted. Raises a ``PopulaceError`` to refuse it.

        Returns what became of it, if there is more to say than that it was accepted.
        """
        ...


@dataclass
class Finding:
    """What happened at an input. The seed and the number make the input again."""

    number: int
    data: bytes
    what: str
    where: str


@dataclass
class Report:
    """How many inputs there were, and what became of them."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    findings: list[Finding] = field(default_factory=list[Finding])


def input_of(target: Target, seed: int, number: int) -> bytes:
    """Return the input of this number."""
    return target.made(random.Random(f"{seed} {number}"))


def fuzz(
    target: Target,
    *,
    seed: int,
    inputs: int | None = None,
    seconds: float | None = None,
    first: int = 0,
    found: Callable[[Finding], None] = lambda _: None,
) -> Report:
    """Feed ``inputs``, or as many as ``seconds`` allow, from number ``first`` on.

    ``found`` is told of findings. Only in the main thread, as the bound of processor time is a signal's.
    """
    report = Report()
    ends = None if seconds is None else time.monotonic() + seconds
    while (inputs is None or report.inputs < inputs) and (ends is None or time.monotonic() < ends):
        number = first + report.inputs
        data = input_of(target, seed, number)
        report.inputs += 1
        finding, outcome = _fed(target, number, data)
        report.outcomes[outcome] += 1
        if finding is not None:
            report.findings.append(finding)
            found(finding)
    return report


def _fed(target: Target, number: int, data: bytes) -> tuple[Finding | None, str]:
    tracemalloc.start()
    try:
        with _bounded_time():
            outcome = target.feed(data) or "accepted"
    except PopulaceError as error:
        outcome = error.code
    except (Exception, Hung) as error:  # whatever it is, it is what is looked for
        return Finding(number, data, repr(error)[:500], traceback.format_exc()), type(error).__name__
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    if peak > BYTES_MAX:
        return Finding(number, data, f"it allocated {peak} bytes, and was: {outcome}", ""), "too much memory"
    return None, outcome


@contextmanager
def _bounded_time() -> Generator[None]:
    def end(_: int, __: FrameType | None) -> None:
        raise Hung(f"more than {PROCESSOR_SECONDS_MAX} s of processor time")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
