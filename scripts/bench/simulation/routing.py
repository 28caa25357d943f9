"""Where requests go in a cluster of engines, and how many find their adapter warm there.

A trace of requests is sent to replicas of which each has a warm tier of bounded bytes. A reply takes as long
wherever it is made: only what is warm, and how many requests a replica has at once, is simulated.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import numpy as np

from populace.policies.holdings import WARM_MAX
from populace.policies.residency import Residency
from populace.policies.routing import load_max
from scripts.bench.simulation.people import ADAPTER_BYTES, Numbers, Places

MESSAGES_MEAN = 6.0
PAUSE_SECONDS_MEAN = 40.0
SERVICE_SECONDS = 3.0
"""How long a reply takes."""
PEOPLE_REMEMBERED = 1 << 16
PUBLISH_SECONDS = 3.0
"""A router knows what a replica holds as of at most so long ago."""


class Trace(NamedTuple):
    """Requests in the order of time: when, whose, and whether the first of a session."""

    times: Numbers
    people: Places
    is_first: Sequence[bool]


class Routed(NamedTuple):
    """What came of a trace after its first third, which fills the tiers."""

    requests: int
    hits: int
    returns: int
    """Requests within a session, which could find the adapter where the session's last one left it."""
    returns_hit: int
    peak: int
    """The largest number of requests that one replica had at once."""


class Routing(Protocol):
    """Chooses the replica of a request; told what is loaded where, and what left."""

    def choose(self, person: int, loads: Sequence[int], now: float) -> int: ...

    def loaded(self, person: int, replica: int, now: float) -> None: ...

    def left(self, person: int, replica: int, now: float) -> None: ...


def sessions(shares: Numbers, requests: int, a_second: float, seed: int) -> Trace:
    """Make a trace: people begin sessions in proportion to their shares, with pauses between messages."""
    draw = np.random.default_rng(seed)
    number = int(requests / MESSAGES_MEAN * 1.1) + 1
    starts = np.cumsum(draw.exponential(MESSAGES_MEAN / a_second, number))
    ends: Any = np.cumsum(shares)
    whose = np.minimum(ends.searchsorted(draw.random(number) * ends[-1]), len(shares) - 1)
    lengths = draw.geometric(1 / MESSAGES_MEAN, number)
    firsts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    pauses = draw.exponential(PAUSE_SECONDS_MEAN, int(lengths.sum())) + SERVICE_SECONDS
    pauses[firsts] = 0.0
    since = np.cumsum(pauses)
    times = np.repeat(starts - since[firsts], lengths) + since
    is_first = np.zeros(len(times), np.bool_)
    is_first[firsts] = True
    order = np.argsort(times, kind="stable")[:requests]
    return Trace(times[order], np.repeat(whose, lengths)[order], is_first[order].tolist())


def play(trace: Trace, replicas: int, warm_bytes: int, routing: Routing) -> Routed:
    """Send the trace to the replicas, each with ``warm_bytes`` for adapters."""
    tiers = [Residency(warm_bytes) for _ in range(replicas)]
    loads = [0] * replicas
    ending: list[tuple[float, int]] = []
    counted, peak, warm_up = Counter[str](), 0, len(trace.times) // 3
    requests = zip(trace.times.tolist(), trace.people.tolist(), trace.is_first, strict=True)
    for number, (now, person, is_first) in enumerate(requests):
        while ending and ending[0][0] <= now:
            loads[heapq.heappop(ending)[1]] -= 1
        replica = routing.choose(person, loads, now)
        loads[replica] += 1
        heapq.heappush(ending, (now + SERVICE_SECONDS, replica))
        is_hit = _use(tiers[replica], person, replica, now, routing)
        if number >= warm_up:
            counted["requests"] += 1
            counted["hits"] += is_hit
            counted["returns"] += not is_first
            counted["returns_hit"] += is_hit and not is_first
            peak = max(peak, loads[replica])
    return Routed(counted["requests"], counted["hits"], counted["returns"], counted["returns_hit"], peak)


def _use(tier: Residency, person: int, replica: int, now: float, routing: Routing) -> bool:
    key = str(person)
    is_hit = tier.use(key)
    if not is_hit:
        for gone in tier.admit(key, ADAPTER_BYTES) or ():
            routing.left(int(gone), replica, now)
    routing.loaded(person, replica, now)
    return is_hit


class Unaware:
    """A routing that does not look at what is warm."""

    def __init__(self, choose: Callable[[int, Sequence[int]], int]) -> None:
        self._choose = choose

    def choose(self, person: int, loads: Sequence[int], now: float) -> int:
        del now
        return self._choose(person, loads)

    def loaded(self, person: int, replica: int, now: float) -> None:
        pass

    def left(self, person: int, replica: int, now: float) -> None:
        pass


def at_random(seed: int) -> Unaware:
    """Return a routing to any replica."""
    draw = np.random.default_rng(seed)
    return Unaware(lambda _person, loads: int(draw.integers(len(loads))))


def least_loaded() -> Unaware:
    """Return a routing to one that has least to do, in turns."""
    turn = [0]

    def choose(_person: int, loads: Sequence[int]) -> int:
        turn[0] = (turn[0] + 1) % len(loads)
        return loads.index(min(loads)) if min(loads) < loads[turn[0]] else turn[0]

    return Unaware(choose)


def by_person() -> Unaware:
    """Return a routing to the replica that ranks first for the person, however much it has to do."""
    return Unaware(lambda person, loads: own_replica(person, len(loads)))


@lru_cache(PEOPLE_REMEMBERED)
def own_replica(person: int, replicas: int) -> int:
    """Return the replica that ranks first for the person."""
    return min(range(replicas), key=lambda replica: distance(person, replica))


class ByResidency:
    """Populace's routing, ``policies/routing.py:order``, of which only the first place is computed.

    What a replica loaded is known at once to the router that sent it there, as in ``engines/routes.py``; what
    left is known when the replica publishes. A replica publishes at most ``published_max`` adapters. With
    ``prefers_own`` a request whose adapter is warm nowhere goes to the person's own replica instead of the
    least loaded one, unless that has more to do than it may: what one does not publish is found there.
    """

    def __init__(self, published_max: int = WARM_MAX, *, prefers_own: bool = False) -> None:
        self._published_max = published_max
        self._prefers_own = prefers_own
        self._holders: dict[int, dict[int, None]] = {}
        self._published: dict[int, dict[int, float]] = {}
        self._leaving: list[tuple[float, int, int]] = []

    def choose(self, person: int, loads: Sequence[int], now: float) -> int:
        while self._leaving and self._leaving[0][0] <= now:
            known, replica, gone = heapq.heappop(self._leaving)
            # It may have come back.
            if self._published[replica].get(gone, now) < known - PUBLISH_SECONDS:
                self._forget(gone, replica)
        holders = self._holders.get(person, ())
        if self._prefers_own and not holders:
            holders = (own_replica(person, len(loads)),)
        return first_choice(holders, loads, person)

    def loaded(self, person: int, replica: int, now: float) -> None:
        held = self._published.setdefault(replica, {})
        held.pop(person, None)
        held[person] = now
        self._holders.setdefault(person, {})[replica] = None
        if len(held) > self._published_max:
            # The summary has those that were used last.
            self._forget(next(iter(held)), replica)

    def left(self, person: int, replica: int, now: float) -> None:
        if person in self._published.get(replica, {}):
            heapq.heappush(self._leaving, (now + PUBLISH_SECONDS, replica, person))

    def _forget(self, person: int, replica: int) -> None:
        self._published[replica].pop(person, None)
        holders = self._holders.get(person, {})
        holders.pop(replica, None)
        if not holders:
            self._holders.pop(person, None)


def first_choice(holders: Iterable[int], loads: Sequence[int], person: int) -> int:
    """Return what ``order`` puts first, if the holders are warm and all others cool."""
    bound = load_max(sum(loads) + 1, len(loads))
    near = [replica for replica in holders if loads[replica] < bound]
    if not near:
        least = min(loads)
        near = [replica for replica, load in enumerate(loads) if load == least]
    if len(near) == 1:
        return near[0]
    return min(near, key=lambda replica: (loads[replica], distance(person, replica)))


def distance(person: int, replica: int) -> bytes:
    """Return the hash by which the routing orders replicas that are alike for a person."""
    return blake2b(name_of(replica).encode(), key=key_of(person), digest_size=8).digest()


def name_of(replica: int) -> str:
    """Return the name of a replica."""
    return f"replica-{replica}"


def key_of(person: int) -> bytes:
    """Return what stands for a person's adapter."""
    return person.to_bytes(8)
