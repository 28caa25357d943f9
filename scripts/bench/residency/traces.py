"""Traces of which personal models are used and when: synthetic traffic, and recorded files.

People differ in how often they begin a session (Zipf), which has several messages. Beside the sessions run
scans, which use each of many models once: an evaluation, a backup, or a question to the population.
"""

import csv
import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from populace.policies.residency_trace import Access

ADAPTER_BYTES = 1 << 20
MESSAGES_MEAN = 6.0
"""The mean number of messages in a session; the distribution is geometric."""
PAUSE_SECONDS_MEAN = 40.0
"""The mean time between two messages of a session; the distribution is exponential."""
SESSIONS_EACH_SECOND = 0.5
SCAN_SHARE = 0.2
"""A scan uses this share of all models."""
SCAN_PAUSE_SECONDS = 0.5
RANKS = (1, 2, 4, 8, 16)
ZIPF_EXPONENT = 0.9


class TraceInvalid(ValueError):
    """A recorded trace cannot be read; the message names the file or the line."""


class Traffic(NamedTuple):
    """A kind of synthetic traffic, and its name in the table."""

    name: str
    make: Callable[[int, int, int], list[Access]]
    """Return a trace, given the numbers of models and accesses, and the seed."""


def chat(models: int, accesses: int, seed: int) -> list[Access]:
    """Return a trace of sessions alone."""
    return _first(accesses, _sessions(models, _draw(seed)))


def chat_with_scans(models: int, accesses: int, seed: int) -> list[Access]:
    """Return a trace of sessions with scans, one of which runs for a third of the time."""
    scans = _scans(models, _draw(seed + 1))
    return _first(accesses, heapq.merge(_sessions(models, _draw(seed)), scans))


def mixed_ranks(models: int, accesses: int, seed: int) -> list[Access]:
    """Return a trace of sessions and scans over adapters of ranks 1 to 16, with sizes in proportion."""
    ranks = _draw(seed + 2).choices(RANKS, k=models)
    unit = ADAPTER_BYTES // 8
    return [
        Access(time, key, unit * ranks[int(key)]) for time, key, _ in chat_with_scans(models, accesses, seed)
    ]


def shifting(models: int, accesses: int, seed: int) -> list[Access]:
    """Return a trace of four parts; in each of them other people have the most sessions."""
    each = -(-accesses // 4)
    parts = [chat(models, each, seed + number) for number in range(4)]
    moved: list[Access] = []
    for number, part in enumerate(parts):
        begin = moved[-1].time if moved else 0.0
        moved += [
            Access(begin + time, str((int(key) + number * models // 4) % models), size)
            for time, key, size in part
        ]
    return moved[:accesses]


def uniform(models: int, accesses: int, seed: int) -> list[Access]:
    """Return a trace of independent uniform draws, in which no policy can do better than another."""
    draw = _draw(seed)
    return [Access(float(index), str(draw.randrange(models)), ADAPTER_BYTES) for index in range(accesses)]


TRAFFIC = (
    Traffic("chat", chat),
    Traffic("scans", chat_with_scans),
    Traffic("ranks", mixed_ranks),
    Traffic("shifts", shifting),
    Traffic("uniform", uniform),
)


def read_trace(path: Path) -> list[Access]:
    """Read lines of ``seconds,key,bytes`` in the order of time. Raises ``TraceInvalid`` for others."""
    trace: list[Access] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                trace.append(_access(row, number, trace[-1].time if trace else 0.0))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceInvalid(f"The trace {path} cannot be read: {error}.") from error
    if not trace:
        raise TraceInvalid(f"The trace {path} is empty.")
    return trace


def _access(row: list[str], number: int, earliest: float) -> Access:
    try:
        seconds, key, size = row
        access = Access(float(seconds), key, int(size))
    except ValueError:
        raise TraceInvalid(
            f"Line {number} of the trace is not seconds,key,bytes: {','.join(row)[:80]!r}."
        ) from None
    if not access.time >= earliest or access.size < 0:
        raise TraceInvalid(f"Line {number} of the trace goes back in time, or has a size below 0.")
    return access


def _draw(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - traffic, not a secret


def _first(accesses: int, traffic: Iterator[Access]) -> list[Access]:
    return list(itertools.islice(traffic, accesses))


def _sessions(models: int, draw: random.Random) -> Iterator[Access]:
    """Yield the messages of all sessions in the order of time, without end."""
    shares = list(itertools.accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, models + 1)))
    people = list(range(models))
    underway: list[tuple[float, int]] = []
    begins = 0.0
    while True:
        begins += draw.expovariate(SESSIONS_EACH_SECOND)
        [person] = draw.choices(people, cum_weights=shares)
        while underway and underway[0][0] <= begins:
            time, speaker = heapq.heappop(underway)
            yield Access(time, str(speaker), ADAPTER_BYTES)
        time = begins
        heapq.heappush(underway, (time, person))
        while draw.random() > 1 / MESSAGES_MEAN:
            time += draw.expovariate(1 / PAUSE_SECONDS_MEAN)
            heapq.heappush(underway, (time, person))


def _scans(models: int, draw: random.Random) -> Iterator[Access]:
    """Yield scans over random models, each after a pause that is twice as long as it, without end."""
    time = 0.0
    while True:
        scanned = draw.sample(range(models), max(1, int(models * SCAN_SHARE)))
        time += 2 * SCAN_PAUSE_SECONDS * len(scanned)
        for model in scanned:
            time += SCAN_PAUSE_SECONDS
            yield Access(time, str(model), ADAPTER_BYTES)
