"""Admission to an engine: a fair gate over batch places and adapter slots.

vLLM skips a waiting request whose adapter finds no slot and lets later ones pass for ever
(vllm#16876). So no more distinct adapters are let in than there are slots, and the order of
entry is decided here, where it can be fair.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from populace.actors.engine import EngineStatistics
from populace.actors.errors import EngineOverloaded, EngineUnavailable
from populace.actors.owner import NO_OWNER, Owner, Rank
from populace.actors.span_names import ADMISSION_WAIT
from populace.engines.options import EngineOptions
from populace.policies.fair_shares import FairShares
from populace.telemetry.tracing.spans import TRACER

PATIENCE_SECONDS = 2.0
AGEING_SECONDS = 10.0
"""After each of these a waiting request is as urgent as those of the next rank."""
REPLY_WEIGHT = 2.0
"""What a token of a reply costs, in tokens of a prompt: that of the paper of ``policies/fair_shares``."""


class Ticket:
    """One request's right to a place. ``key`` is its adapter's digest, None for the base."""

    __slots__ = ("key", "owner", "prompt_tokens", "since_s")

    def __init__(
        self, key: str | None, since_s: float, owner: Owner = NO_OWNER, *, prompt_tokens: int = 1
    ) -> None:
        self.key = key
        self.since_s = since_s
        self.owner = owner
        self.prompt_tokens = prompt_tokens

    def rank_at(self, now_s: float) -> int:
        """How urgent it is at ``now_s``; 0 is the most."""
        return max(0, self.owner.rank - int((now_s - self.since_s) / AGEING_SECONDS))


class AdmissionQueue:
    """Admits the most urgent requests first, and among these those of the tenant that was served the least.

    Requests of a tenant that are as urgent enter in their order, with an exception that is limited in time: a
    request whose adapter is in flight already (or that asks the base) needs no new slot and may pass a
    waiting one that does, until the first that was left behind has waited ``patience_s``. From then on only
    base requests pass: they hold no slot, so they cannot keep one from draining.

    A place is held for as long as its reply takes, so order alone would have a quiet tenant wait for the end
    of a busy one's reply. ``reserve`` places and slots beyond the others are for chats of tenants without a
    chat in the engine. Pure: the caller brings the time.
    """

    def __init__(
        self, *, places: int, slots: int, reserve: int = 0, patience_s: float = PATIENCE_SECONDS
    ) -> None:
        self.places = places
        self.slots = slots
        self._reserve = reserve
        self._patience_s = patience_s
        self._waiting: dict[Ticket, None] = {}
        self._running: dict[Ticket, None] = {}
        self._in_flight: Counter[str] = Counter()
        self._chats: Counter[str] = Counter()
        self._shares: FairShares[str] = FairShares()

    def join(self, ticket: Ticket) -> None:
        self._waiting[ticket] = None
        self._shares.begin(ticket.owner.tenant)

    def leave(self, ticket: Ticket) -> None:
        """Remove a ticket, whether it waits or runs. A second call does nothing."""
        if ticket in self._running:
            del self._running[ticket]
            _less(self._in_flight, ticket.key)
            if ticket.owner.rank is Rank.CHAT:
                _less(self._chats, ticket.owner.tenant)
        elif ticket in self._waiting:
            del self._waiting[ticket]
        else:
            return
        self._shares.end(ticket.owner.tenant)

    def charge(self, ticket: Ticket, tokens: int) -> None:
        """Note that the reply of a ticket that runs has grown by ``tokens``."""
        self._shares.charge(ticket.owner.tenant, REPLY_WEIGHT * tokens)

    def admit(self, now_s: float) -> list[Ticket]:
        """Move every ticket that may enter at ``now_s`` from waiting to running, in order."""
        admitted: list[Ticket] = []
        left_behind: Ticket | None = None
        if len(self._running) < self.places + self._reserve:
            for ticket in self._in_order(now_s):
                draining = left_behind is not None and now_s - left_behind.since_s >= self._patience_s
                if not self._has_place(ticket.owner):
                    continue
                if self._has_slot(ticket.key, ticket.owner) and not (draining and ticket.key is not None):
                    self._enter(ticket)
                    admitted.append(ticket)
                elif left_behind is None:
                    left_behind = ticket
        return admitted

    def _in_order(self, now_s: float) -> Iterator[Ticket]:
        """Yield every waiting ticket; whoever enters is charged before the next one is chosen."""
        waiting: dict[str, deque[Ticket]] = {}
        for ticket in sorted(self._waiting, key=lambda ticket: ticket.rank_at(now_s)):
            waiting.setdefault(ticket.owner.tenant, deque()).append(ticket)

        def precedence(tenant: str) -> tuple[int, tuple[float, int], float]:
            first = waiting[tenant][0]
            return first.rank_at(now_s), self._shares.precedence(tenant), first.since_s

        while waiting:
            tenant = min(waiting, key=precedence)
            yield waiting[tenant].popleft()
            if not waiting[tenant]:
                del waiting[tenant]

    def _has_place(self, owner: Owner) -> bool:
        return len(self._running) < self.places + self._reserve_for(owner)

    def _has_slot(self, key: str | None, owner: Owner) -> bool:
        slots = self.slots + self._reserve_for(owner)
        return key is None or key in self._in_flight or len(self._in_flight) < slots

    def _reserve_for(self, owner: Owner) -> int:
        return self._reserve if owner.rank is Rank.CHAT and owner.tenant not in self._chats else 0

    def _enter(self, ticket: Ticket) -> None:
        del self._waiting[ticket]
        self._running[ticket] = None
        if ticket.key is not None:
            self._in_flight[ticket.key] += 1
        if ticket.owner.rank is Rank.CHAT:
            self._chats[ticket.owner.tenant] += 1
        self._shares.charge(ticket.owner.tenant, ticket.prompt_tokens)

    def has_room(self, key: str | None, owner: Owner = NO_OWNER) -> bool:
        """Return whether a request that came now would find a place if none waited before it."""
        return self._has_place(owner) and self._has_slot(key, owner)

    def in_flight(self, key: str) -> bool:
        return key in self._in_flight

    def waiting_like(self, owner: Owner) -> int:
        """How many requests of the owner's tenant and rank wait."""
        return sum(
            ticket.owner.tenant == owner.tenant and ticket.owner.rank == owner.rank
            for ticket in self._waiting
        )

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(
            running=len(self._running),
            waiting=len(self._waiting),
            adapters_hot=len(self._in_flight),
            adapter_slots=self.slots + self._reserve,
        )

    def check_integrity(self) -> None:
        assert len(self._running) <= self.places + self._reserve
        assert len(self._in_flight) <= self.slots + self._reserve
        assert self._in_flight == Counter(t.key for t in self._running if t.key is not None)
        assert self._chats == Counter(t.owner.tenant for t in self._running if t.owner.rank is Rank.CHAT)
        assert not self._waiting.keys() & self._running.keys()


def _less(counts: Counter[str], key: str | None) -> None:
    if key is not None:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]


class AdmissionGate:
    """The queue for asyncio: ``enter`` waits for a place, ``leave`` gives it back.

    One event loop only. A request that would be the ``waiting_max + 1``-th of its tenant and rank to wait is
    refused, so that a tenant's requests take no room from another's.
    """

    def __init__(
        self, queue: AdmissionQueue, *, waiting_max: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._waiting_max = waiting_max
        self._clock = clock
        self._entries: dict[Ticket, asyncio.Future[None]] = {}
        self._closed: str | None = None

    @property
    def places(self) -> int:
        """How many requests run at once."""
        return self._queue.places

    async def enter(self, key: str | None, owner: Owner = NO_OWNER, *, prompt_tokens: int = 1) -> Ticket:
        """Wait for a place and, for an adapter, a slot. The caller must ``leave`` with the ticket.

        Raises:
            EngineOverloaded: too many requests of the tenant wait already.
            EngineUnavailable: the gate is closed, before or while waiting.
        """
        self.check_open()
        ticket = Ticket(key, self._clock(), owner, prompt_tokens=prompt_tokens)
        entry = asyncio.get_running_loop().create_future()
        self._entries[ticket] = entry
        self._queue.join(ticket)
        self._admit()
        if not entry.done() and self._queue.waiting_like(owner) > self._waiting_max:
            self.leave(ticket)
            raise EngineOverloaded(
                f"The engine's queue is full ({self._waiting_max} of your requests wait).",
                limit=self._waiting_max,
            )
        try:
            if not entry.done():
                with TRACER.span(ADMISSION_WAIT):
                    await entry
            self.check_open()
        except BaseException:
            self.leave(ticket)
            raise
        return ticket

    def check_open(self) -> None:
        if self._closed is not None:
            raise EngineUnavailable(self._closed)

    def leave(self, ticket: Ticket) -> None:
        self._entries.pop(ticket, None)
        self._queue.leave(ticket)
        self._admit()

    def close(self, reason: str) -> None:
        """Refuse all requests from now on and fail those that wait with ``EngineUnavailable``."""
        self._closed = reason
        for entry in self._entries.values():
            if not entry.done():
                entry.set_exception(EngineUnavailable(reason))

    def _admit(self) -> None:
        if self._closed is not None:
            return
        for ticket in self._queue.admit(self._clock()):
            entry = self._entries[ticket]
            if not entry.done():
                entry.set_result(None)

    def charge(self, ticket: Ticket, tokens: int) -> None:
        self._queue.charge(ticket, tokens)

    def has_room(self, key: str | None, owner: Owner = NO_OWNER) -> bool:
        return self._queue.has_room(key, owner)

    def in_flight(self, key: str) -> bool:
        return self._queue.in_flight(key)

    def statistics(self) -> EngineStatistics:
        return self._queue.statistics()

    def check_integrity(self) -> None:
        statistics = self.statistics()
        assert len(self._entries) == statistics.running + statistics.waiting
        self._queue.check_integrity()


def gate_of(options: EngineOptions) -> AdmissionGate:
    """Make the gate of an engine that is started with these options."""
    queue = AdmissionQueue(places=options.sequences_max, slots=options.adapter_slots, reserve=options.reserve)
    return AdmissionGate(queue, waiting_max=options.waiting_max)
