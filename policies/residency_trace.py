"""A trace of accesses, and its replay with a policy."""

from collections.abc import Iterable
from typing import NamedTuple

from populace.policies.residency import Residency


class Access(NamedTuple):
    """A use of ``key``, of ``size`` bytes, at ``time`` in seconds. Traces are ordered by time."""

    time: float
    key: str
    size: int


class Outcome(NamedTuple):
    """The result of a policy on a trace. Each access is a hit or a load, and ``bytes`` are those loaded."""

    accesses: int
    hits: int
    loads: int
    bytes: int
    evictions: int

    @property
    def hit_rate(self) -> float:
        return self.hits / self.accesses if self.accesses else 0.0


def play(trace: Iterable[Access], residency: Residency, *, session_seconds: float = 0.0) -> Outcome:
    """Play the trace on an empty tier. Each use begins or prolongs a session of ``session_seconds``."""
    accesses = hits = loads = loaded = evictions = 0
    for time, key, size in trace:
        accesses += 1
        if residency.use(key):
            hits += 1
        else:
            loads += 1
            loaded += size
            left = residency.admit(key, size, time)
            if left is None:
                continue
            evictions += len(left)
        if session_seconds:
            residency.continue_session(key, time + session_seconds)
    return Outcome(accesses, hits, loads, loaded, evictions)
