"""A bounded first-in-first-out box of turns that wait for their model."""

import asyncio
from collections import deque
from dataclasses import dataclass

from populace.actors.turn import TurnGrant, TurnRequest


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """A turn request and the promise to answer it with a grant."""

    request: TurnRequest
    granted: asyncio.Future[TurnGrant]


class Mailbox:
    """Letters leave in the order in which they came; a letter whose sender gave up is skipped."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._letters: deque[Letter] = deque()

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def is_full(self) -> bool:
        return len(self._letters) >= self._capacity

    def put(self, letter: Letter) -> None:
        assert not self.is_full, "the caller checks is_full and refuses"
        self._letters.append(letter)

    def take(self) -> Letter | None:
        """Take the oldest letter that somebody still waits for."""
        while self._letters:
            letter = self._letters.popleft()
            if not letter.granted.done():
                return letter
        return None

    def discard(self, letter: Letter) -> None:
        """Drop a letter whose sender stopped waiting, if it is still here."""
        if letter in self._letters:
            self._letters.remove(letter)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if a letter is here that was answered, or more than there is room for."""
        assert len(self._letters) <= self._capacity, "there are more letters than there is room for"
        for letter in self._letters:
            assert not letter.granted.done() or letter.granted.cancelled(), "an answered letter still waits"

    def fail(self, error: Exception) -> None:
        """Answer every waiting letter with ``error``, so that nobody hangs."""
        while (letter := self.take()) is not None:
            letter.granted.set_exception(error)
