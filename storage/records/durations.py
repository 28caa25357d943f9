"""Counts how long something took, in classes that are the same everywhere, so that counts can be added up."""

from bisect import bisect_left
from typing import NamedTuple

BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
"""The upper bounds of the classes, in seconds: from a commit without a disk to the end of a turn."""


class DurationCounts(NamedTuple):
    """How many durations are in each class, and their sum in seconds.

    Class n holds those in (``BOUNDS_S[n - 1]``, ``BOUNDS_S[n]``]; the last one, without a bound, is one more.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.counts)


class Durations:
    """Adds durations up: about half a microsecond each. One thread adds; any may take a snapshot."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration; one below zero, from a clock that was set back, counts as none."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += max(0.0, seconds)

    def snapshot(self) -> DurationCounts:
        return DurationCounts(tuple(self._counts), self._sum_s)


def added_up(counts: "list[DurationCounts]") -> DurationCounts:
    """Return the counts of all together."""
    if not counts:
        return DurationCounts()
    columns = zip(*(part.counts for part in counts), strict=True)
    return DurationCounts(tuple(sum(column) for column in columns), sum(part.sum_s for part in counts))
