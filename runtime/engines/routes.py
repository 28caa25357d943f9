"""What a router knows of its replicas: what they hold, what they have to do, and what it sent them itself.

Replicas publish what they hold every few seconds. What was sent in between is remembered here, so that the
first requests of an adapter all go where the first of them went. Used on one event loop. It imports nothing
of Ray's, and is no part of the router's module: Ray sends that by value, which would copy ``ROUTED``.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from populace.policies.holdings import Holdings, mark_of
from populace.policies.routing import Choice, Reason, ReplicaView, Tier, order

SENT_SECONDS = 10.0
"""For which a replica counts as hot for what it was sent. By then it has published, on a busy machine too."""

SENT_MAX = 8192
"""Pairs of an adapter and a replica that are remembered; those used longest ago are forgotten."""

OTHERS_SECONDS = 10.0
"""For which a replica's word on how many requests it has from others counts."""

STREAMS_MAX = 4096
"""Requests of which is remembered where they went, so that those that come again find it."""

REPLICAS_OF_STREAM_MAX = 8

OPEN_SECONDS_MAX = 600.0
"""After which a call counts as ended. No turn lasts as long, but Ray may lose a call without a word."""

RoutedReason = Reason | Literal["repeat"]

ROUTED: Counter[str] = Counter()
"""Requests for replies that this process sent to replicas, by why the replica was chosen."""


class Call(NamedTuple):
    """What matters of a call: its id, its adapter's digest, and the stream that its repeats share with it.

    Without a stream it is no request for a reply. What ``follows`` another adapter goes where that one is.
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
    """How many requests of others a replica had, and when it said so."""

    requests: int
    at_s: float


class Routes:
    """Chooses, and keeps the books that the choice needs. Every one of them is bounded."""

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
        """Take in what the replicas published; who is not among them is gone."""
        for gone in self._summaries.keys() - summaries.keys():
            self.remove(gone)
        for replica, summary in summaries.items():
            if self._summaries.get(replica) != summary:
                self._holdings[replica] = Holdings.read(summary)
        self._summaries = dict(summaries)
        # A dead replica may have been heard after it was removed.
        self._others = {name: load for name, load in self._others.items() if name in summaries}

    def remove(self, replica: str) -> None:
        """Forget a replica that died; what it was sent may still be told as ended."""
        self._summaries.pop(replica, None)
        self._holdings.pop(replica, None)
        self._others.pop(replica, None)
        for key in [key for key in self._sent if key[1] == replica]:
            del self._sent[key]

    def choose(self, call: Call, replicas: Sequence[str]) -> list[tuple[str, RoutedReason]]:
        """Order the replicas for a call, the best first, and count on the first to get it.

        A request that comes again goes where it went, as it may run there. If it comes once more, that
        replica does not answer: it is the last.
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
        """Note which replica gets the call, and why."""
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
        """Note that a call ended, or was given up before it was sent. Ids that are not open do nothing."""
        opened = self._open.pop(call, None)
        if opened is None:
            return
        self._own[opened.replica] -= 1
        if not self._own[opened.replica]:
            del self._own[opened.replica]

    def hear(self, replica: str, requests: int) -> None:
        """Note how many requests a replica says it has, from whomever."""
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
    """Put first what was tried once, and last what was tried more often or beside another."""
    again: list[tuple[str, RoutedReason]] = [(name, "repeat") for name, _ in choices if name in tried]
    new: list[tuple[str, RoutedReason]] = [(name, why) for name, why in choices if name not in tried]
    return again + new if len(tried) == 1 else new + again
