"""Decides what stays in a tier of bounded bytes, and what leaves when something else comes.

A tier holds whole adapters of different sizes, by digest. A ``Replacement`` defines the order in which they
leave; what may leave at all is decided here: never an adapter that is held by a user, and one of a session
under way only if nothing else is left.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol


class Replacement(Protocol):
    """An order of leaving. It knows sizes and uses, and not which keys must stay."""

    def insert(self, key: str, size: int) -> None:
        """Add a new key of ``size`` bytes; this is its first use."""
        ...

    def touch(self, key: str) -> None:
        """Note another use of a present key."""
        ...

    def remove(self, key: str) -> None:
        """Remove a present key."""
        ...

    def leaving(self) -> Iterator[str]:
        """Yield every key, first the one that should leave first. Valid until the next change."""
        ...

    def check_integrity(self) -> None: ...


class Residency:
    """The state of one tier: sizes, holds, and sessions under way. Times are the caller's, in seconds."""

    def __init__(self, bytes_max: int, replacement: Replacement) -> None:
        assert bytes_max > 0
        self.bytes_max = bytes_max
        self._replacement = replacement
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._holds: Counter[str] = Counter()
        self._sessions: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, key: str) -> bool:
        return key in self._sizes

    @property
    def bytes(self) -> int:
        """The bytes of all resident keys; never above ``bytes_max``."""
        return self._bytes

    def size_of(self, key: str) -> int:
        """The bytes of a resident key."""
        return self._sizes[key]

    def leaving(self) -> Iterator[str]:
        """Yield every resident key in the order of leaving, ignoring holds."""
        return self._replacement.leaving()

    def use(self, key: str) -> bool:
        """Note a use; return whether the key is resident. If not, the caller may ``admit`` it."""
        if key not in self._sizes:
            return False
        self._replacement.touch(key)
        return True

    def admit(self, key: str, size: int, now: float) -> tuple[str, ...] | None:
        """Make ``size`` bytes of room and add the key; return the keys that left, in order.

        Returns None, and changes nothing, if held keys leave too little room or the tier is too small.
        """
        assert key not in self._sizes
        assert size >= 0
        victims = self._victims(size, now)
        if victims is None:
            return None
        for victim in victims:
            self.remove(victim)
        self._sizes[key] = size
        self._bytes += size
        self._replacement.insert(key, size)
        return victims

    def remove(self, key: str) -> None:
        """Remove a resident key, which must not be held."""
        assert not self._holds[key]
        self._bytes -= self._sizes.pop(key)
        self._sessions.pop(key, None)
        self._replacement.remove(key)

    def hold(self, key: str) -> None:
        """Keep a resident key until ``release`` was called as often as ``hold``."""
        assert key in self._sizes
        self._holds[key] += 1

    def release(self, key: str) -> None:
        assert self._holds[key] > 0
        self._holds[key] -= 1
        if not self._holds[key]:
            del self._holds[key]

    def held(self, key: str) -> bool:
        return key in self._holds

    def continue_session(self, key: str, until: float) -> None:
        """Expect more uses of a resident key before ``until``: keys without a session leave before it."""
        assert key in self._sizes
        self._sessions[key] = until

    def _victims(self, size: int, now: float) -> tuple[str, ...] | None:
        """Choose the keys that leave for ``size`` more bytes; None if they are not enough."""
        excess = self._bytes + size - self.bytes_max
        if excess <= 0:
            return ()
        chosen: list[str] = []
        for key in self._may_leave(now):
            chosen.append(key)
            excess -= self._sizes[key]
            if excess <= 0:
                return tuple(chosen)
        return None

    def _may_leave(self, now: float) -> Iterator[str]:
        in_session: list[str] = []
        for key in self._replacement.leaving():
            if key in self._holds:
                continue
            if self._sessions.get(key, now) > now:
                in_session.append(key)
            else:
                yield key
        yield from in_session

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if sizes, holds and sessions contradict each other."""
        assert self._bytes == sum(self._sizes.values())
        assert self._bytes <= self.bytes_max
        assert self._holds.keys() <= self._sizes.keys()
        assert all(count > 0 for count in self._holds.values())
        assert self._sessions.keys() <= self._sizes.keys()
        assert Counter(self._replacement.leaving()) == Counter(self._sizes.keys())
        self._replacement.check_integrity()
