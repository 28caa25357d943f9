"""A router's records of its replicas: their adapters, their load, and the calls that it sent to them.

Replicas publish their adapters every few seconds. Calls that were sent in between are recorded here, so that
the first requests of an adapter all go to the same replica. Used on one event loop. It does not import Ray,
and is not in the router's module, because Ray sends that by value, which would copy ``ROUTED``.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from populace.policies.holdings import Holdings, mark_of
from populace.policies.routing import Choice, Reason, ReplicaView, Tier, order

SENT_SECONDS = 10.0
"""A replica counts as hot this long for what it was sent; by then it publishes, on a busy machine too."""

SENT_MAX = 8192
"""Pairs of an adapter and a replica that are remembered; those used longest ago are forgotten."""

OTHERS_SECONDS = 10.0
"""How long a replica's report of its requests from other routers counts."""

STREAMS_MAX = 4096
"""Requests whose replica is remembered, so that a repeated request goes to the same one."""

REPLICAS_OF_STREAM_MAX = 8

OPEN_SECONDS_MAX = 600.0
"""A call counts as ended after this time. No turn lasts as long, but Ray may lose a call silently."""

RoutedReason = Reason | Literal["repeat"]

ROUTED: Counter[str] = Counter()
"""Requests for replies that this process sent to replicas, by why the replica was chosen."""


class Call(NamedTuple):
    """The parts of a call that routing needs: its id, its adapter's digest, and the stream of its repeats.

    A call without a stream is no request for a reply. A call that ``follows`` an adapter goes to its replica.
    """

    id: str
    adapter: str | None = None
    stream: bytes | None = None
    follows: str | None = None


class _Open(NamedTuple):
    """A call that was sent, or will be at once."""

    replica: str
    mark: bytes | None
    since_s: float


class _Load(NamedTuple):
    """How many requests of other routers a replica had, and when it reported that."""

    requests: int
    at_s: float


class Routes:
    """Chooses replicas, and keeps the records that the choice needs. Each record is bounded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._summaries: dict[str, Mapping[str, object]] = {}
        self._holdings: dict[str, Holdings] = {}
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._own: Counter[str] = Counter()
        self._others: dict[str, _Load] = {}
        self._sent: OrderedDict[tuple[bytes, str], float] = OrderedDict()
        self._streams: OrderedDict[bytes, tuple[str, ...]] = OrderedDict()

    def update(self, summaries: Mapping[str, Mapping[str, object]]) -> None:
        """Take in what the replicas published; a replica that is not among them is gone."""
        for gone in self._summaries.keys() - summaries.keys():
            self.remove(gone)
        for replica, summary in summaries.items():
            if self._summaries.get(replica) != summary:
                self._holdings[replica] = Holdings.read(summary)
        self._summaries = dict(summaries)
        # A report of a dead replica may come after it was removed.
        self._others = {name: load for name, load in self._others.items() if name in summaries}

    def remove(self, replica: str) -> None:
        """Forget a replica that died; its calls may still be reported as ended."""
        self._summaries.pop(replica, None)
        self._holdings.pop(replica, None)
        self._others.pop(replica, None)
        for key in [key for key in self._sent if key[1] == replica]:
            del self._sent[key]

    def choose(self, call: Call, replicas: Sequence[str]) -> list[tuple[str, RoutedReason]]:
        """Order the replicas for a call, the best first, and count on the first to get it.

        A request that is repeated goes to the same replica, as it may run there. If it is repeated once
        more, that replica does not respond and becomes the last choice.
        """
        now = self._clock()
        self._end_forgotten(now)
        mark = None if call.adapter is None else mark_of(call.adapter)
        sought = mark if call.follows is None else mark_of(call.follows)
        views = [ReplicaView(name, self._tier(name, sought, now), self._load(name, now)) for name in replicas]
        choices = order(views, mark or mark_of(call.id))
        tried = () if call.stream is None else self._streams.get(call.stream, ())
        chosen = _after(tried, choices)
        if chosen:
            self._expect(call, chosen[0][0], mark, now)
        return chosen

    def settle(self, call: Call, replica: str, reason: RoutedReason) -> None:
        """Record which replica gets the call, and why."""
        opened = self._open.get(call.id)
        if opened is not None and opened.replica != replica:
            self._expect(call, replica, opened.mark, self._clock())
        if call.stream is not None:
            ROUTED[reason] += 1
            tried = (*self._streams.pop(call.stream, ()), replica)
            self._streams[call.stream] = tried[-REPLICAS_OF_STREAM_MAX:]
            while len(self._streams) > STREAMS_MAX:
                self._streams.popitem(last=False)

    def end(self, call: str) -> None:
        """Record that a call ended or was given up before it was sent. Unknown ids are ignored."""
        opened = self._open.pop(call, None)
        if opened is None:
            return
        self._own[opened.replica] -= 1
        if not self._own[opened.replica]:
            del self._own[opened.replica]

    def hear(self, replica: str, requests: int) -> None:
        """Record how many requests a replica reports, from all routers together."""
        self._others[replica] = _Load(max(0, requests - self._own[replica]), self._clock())

    def _expect(self, call: Call, replica: str, mark: bytes | None, now: float) -> None:
        self.end(call.id)
        self._open[call.id] = _Open(replica, mark, now)
        self._own[replica] += 1
        if mark is not None:
            self._sent.pop((mark, replica), None)
            self._sent[mark, replica] = now
            while len(self._sent) > SENT_MAX:
                self._sent.popitem(last=False)

    def _end_forgotten(self, now: float) -> None:
        while self._open:
            oldest = next(iter(self._open))
            if now - self._open[oldest].since_s < OPEN_SECONDS_MAX:
                return
            self.end(oldest)

    def _tier(self, replica: str, mark: bytes | None, now: float) -> Tier:
        if mark is None:
            return "cool"
        sent = self._sent.get((mark, replica))
        if sent is not None and now - sent < SENT_SECONDS:
            return "hot"
        return self._holdings[replica].tier(mark) if replica in self._holdings else "cool"

    def _load(self, replica: str, now: float) -> int:
        others = self._others.get(replica)
        fresh = 0 if others is None or now - others.at_s >= OTHERS_SECONDS else others.requests
        return self._own.get(replica, 0) + fresh

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if the books do not balance or have grown out of their bounds."""
        assert self._own == Counter(opened.replica for opened in self._open.values())
        assert self._holdings.keys() <= self._summaries.keys()
        assert len(self._sent) <= SENT_MAX
        assert len(self._streams) <= STREAMS_MAX
        assert all(len(tried) <= REPLICAS_OF_STREAM_MAX for tried in self._streams.values())


def _after(tried: Collection[str], choices: Sequence[Choice]) -> list[tuple[str, RoutedReason]]:
    """Put first a replica that was tried once, and last those that were tried more often."""
    again: list[tuple[str, RoutedReason]] = [(name, "repeat") for name, _ in choices if name in tried]
    new: list[tuple[str, RoutedReason]] = [(name, why) for name, why in choices if name not in tried]
    return again + new if len(tried) == 1 else new + again
