"""Decides which activations leave memory: those idle for too long, and the longest idle under pressure.

Only idle models are listed here, so a busy one can never be chosen. Over budget with nothing
idle is an overload, to be refused; evicting the busy would make them come back at once.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class IdleQueue(Generic[Key]):
    """A queue of idle keys, longest idle first. Times are the caller's, in non-decreasing seconds."""

    def __init__(self) -> None:
        self._idle_since: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._idle_since)

    def __contains__(self, key: Key) -> bool:
        return key in self._idle_since

    def add(self, key: Key, now: float) -> None:
        """List ``key`` as idle from ``now``; an earlier listing is forgotten."""
        self._idle_since.pop(key, None)
        self._idle_since[key] = now

    def discard(self, key: Key) -> None:
        self._idle_since.pop(key, None)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless keys are ordered by the time at which they became idle."""
        times = list(self._idle_since.values())
        assert times == sorted(times), "the idle queue is out of order"

    def longest_idle(self) -> Key | None:
        return next(iter(self._idle_since), None)

    def idle_longer_than(self, seconds: float, now: float) -> Iterator[Key]:
        """Yield the keys that have been idle for at least ``seconds``, longest first.

        The queue may change between two steps of the iteration: each step looks again.
        """
        while self._idle_since:
            key, since = next(iter(self._idle_since.items()))
            if now - since < seconds:
                return
            yield key
            if self._idle_since.get(key) == since:
                return
