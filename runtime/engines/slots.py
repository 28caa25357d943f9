"""Admission to an engine: a first-come gate over batch places and adapter slots.

vLLM skips a waiting request whose adapter finds no slot and lets later ones pass for ever
(vllm#16876). So no more distinct adapters are let in than there are slots, and the order of
entry is decided here, where it can be fair.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from populace.actors.engine import EngineStatistics
from populace.actors.errors import EngineOverloaded, EngineUnavailable
from populace.actors.span_names import ADMISSION_WAIT
from populace.engines.options import EngineOptions
from populace.telemetry.tracing.spans import TRACER

PATIENCE_SECONDS = 2.0


class Ticket:
    """One request's right to a place. ``key`` is its adapter's digest, None for the base."""

    __slots__ = ("key", "since_s")

    def __init__(self, key: str | None, since_s: float) -> None:
        self.key = key
        self.since_s = since_s


class AdmissionQueue:
    """Admits requests in their order, with an exception that is limited in time.

    A request whose adapter is in flight already (or that asks the base) needs no new slot and
    may pass a waiting one that does, until the first that was left behind has waited
    ``patience_s``. From then on only base requests pass: they hold no slot, so they cannot
    keep one from draining. Pure: the caller brings the time.
    """

    def __init__(self, *, places: int, slots: int, patience_s: float = PATIENCE_SECONDS) -> None:
        self.places = places
        self.slots = slots
        self._patience_s = patience_s
        self._waiting: dict[Ticket, None] = {}
        self._running: dict[Ticket, None] = {}
        self._in_flight: Counter[str] = Counter()

    def join(self, ticket: Ticket) -> None:
        self._waiting[ticket] = None

    def leave(self, ticket: Ticket) -> None:
        """Remove a ticket, whether it waits or runs. A second call does nothing."""
        self._waiting.pop(ticket, None)
        if ticket in self._running:
            del self._running[ticket]
            if ticket.key is not None:
                self._in_flight[ticket.key] -= 1
                if not self._in_flight[ticket.key]:
                    del self._in_flight[ticket.key]

    def admit(self, now_s: float) -> list[Ticket]:
        """Move every ticket that may enter at ``now_s`` from waiting to running, in order."""
        admitted: list[Ticket] = []
        left_behind: Ticket | None = None
        for ticket in list(self._waiting):
            if len(self._running) >= self.places:
                break
            draining = left_behind is not None and now_s - left_behind.since_s >= self._patience_s
            if self._fits(ticket.key) and not (draining and ticket.key is not None):
                self._enter(ticket)
                admitted.append(ticket)
            elif left_behind is None:
                left_behind = ticket
        return admitted

    def _fits(self, key: str | None) -> bool:
        return key is None or key in self._in_flight or len(self._in_flight) < self.slots

    def _enter(self, ticket: Ticket) -> None:
        del self._waiting[ticket]
        self._running[ticket] = None
        if ticket.key is not None:
            self._in_flight[ticket.key] += 1

    def has_room(self, key: str | None) -> bool:
        """Return whether a request that came now would find a place if none waited before it."""
        return len(self._running) < self.places and self._fits(key)

    def in_flight(self, key: str) -> bool:
        return key in self._in_flight

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(
            running=len(self._running),
            waiting=len(self._waiting),
            adapters_hot=len(self._in_flight),
            adapter_slots=self.slots,
        )

    def check_integrity(self) -> None:
        assert len(self._running) <= self.places
        assert len(self._in_flight) <= self.slots
        assert self._in_flight == Counter(t.key for t in self._running if t.key is not None)
        assert not self._waiting.keys() & self._running.keys()


class AdmissionGate:
    """The queue for asyncio: ``enter`` waits for a place, ``leave`` gives it back.

    One event loop only. A request that would be the ``waiting_max + 1``-th to wait is refused.
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

    async def enter(self, key: str | None) -> Ticket:
        """Wait for a place and, for an adapter, a slot. The caller must ``leave`` with the ticket.

        Raises:
            EngineOverloaded: too many requests wait already.
            EngineUnavailable: the gate is closed, before or while waiting.
        """
        self.check_open()
        ticket = Ticket(key, self._clock())
        entry = asyncio.get_running_loop().create_future()
        self._entries[ticket] = entry
        self._queue.join(ticket)
        self._admit()
        if not entry.done() and self._queue.statistics().waiting > self._waiting_max:
            self.leave(ticket)
            raise EngineOverloaded(
                f"The engine's queue is full ({self._waiting_max} requests wait).", limit=self._waiting_max
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

    def has_room(self, key: str | None) -> bool:
        return self._queue.has_room(key)

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
    queue = AdmissionQueue(places=options.sequences_max, slots=options.adapter_slots)
    return AdmissionGate(queue, waiting_max=options.waiting_max)
