"""A bounded first-in-first-out box of turns that wait for their model."""

import asyncio
from collections import deque
from dataclasses import dataclass

from populace.actors.turn import TurnGrant, TurnRequest


@dataclass(frozen=True, slots=True, eq=False)
class QueuedTurn:
    """A turn request and the future of its grant."""

    request: TurnRequest
    granted: asyncio.Future[TurnGrant]


class Mailbox:
    """Holds waiting turns in the order of arrival; a turn whose caller gave up is skipped."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._turns: deque[QueuedTurn] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def is_full(self) -> bool:
        return len(self._turns) >= self._capacity

    def put(self, queued: QueuedTurn) -> None:
        assert not self.is_full, "the caller checks is_full and refuses"
        self._turns.append(queued)

    def take(self) -> QueuedTurn | None:
        """Take the oldest turn that a caller still waits for."""
        while self._turns:
            queued = self._turns.popleft()
            if not queued.granted.done():
                return queued
        return None

    def discard(self, queued: QueuedTurn) -> None:
        """Drop a turn whose caller stopped waiting, if it is still here."""
        if queued in self._turns:
            self._turns.remove(queued)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if a turn in the box was granted already, or there are more than fit."""
        assert len(self._turns) <= self._capacity, "there are more turns than there is room for"
        for queued in self._turns:
            assert not queued.granted.done() or queued.granted.cancelled(), "an answered turn still waits"

    def fail(self, error: Exception) -> None:
        """Fail every waiting turn with ``error``, so that no caller hangs."""
        while (queued := self.take()) is not None:
            queued.granted.set_exception(error)
