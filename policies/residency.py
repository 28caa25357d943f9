"""What stays in a tier of so many bytes, and what leaves when something else comes.

A tier holds whole adapters of different sizes, by digest. In which order they leave is a ``Replacement``;
what may leave at all is decided here: never what is held by who uses it now, and what belongs to a
session under way only if nothing else is left.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol


class Replacement(Protocol):
    """An order of leaving. It knows sizes and uses, and nothing of who may not leave."""

    def insert(self, key: str, size: int) -> None:
        """Take in a key that is not there, of ``size`` bytes; this is its first use."""
        ...

    def touch(self, key: str) -> None:
        """Note another use of a key that is there."""
        ...

    def remove(self, key: str) -> None:
        """Let go of a key that is there."""
        ...

    def leaving(self) -> Iterator[str]:
        """Yield every key, first the one that should leave first. Ends when something changes."""
        ...

    def check_integrity(self) -> None: ...


class Residency:
    """The books of one tier: sizes, who holds what, which sessions are under way. Times are the caller's."""

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
        """Of all that is resident; never above ``bytes_max``."""
        return self._bytes

    def size_of(self, key: str) -> int:
        """In bytes, of a key that is resident."""
        return self._sizes[key]

    def leaving(self) -> Iterator[str]:
        """Yield every resident key in the order of leaving, as if nobody held any."""
        return self._replacement.leaving()

    def use(self, key: str) -> bool:
        """Note a use; tells whether the key is resident. If not, the caller may ``admit`` it."""
        if key not in self._sizes:
            return False
        self._replacement.touch(key)
        return True

    def admit(self, key: str, size: int, now: float) -> tuple[str, ...] | None:
        """Make ``size`` bytes of room and take the key in; answers who left, in order.

        None, and nothing has changed, if the room is held by others or the tier is too small for it.
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
        """Let a resident key go; nobody may hold it."""
        assert not self._holds[key]
        self._bytes -= self._sizes.pop(key)
        self._sessions.pop(key, None)
        self._replacement.remove(key)

    def hold(self, key: str) -> None:
        """Keep a resident key until as many ``release`` as ``hold``."""
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
        """Expect more uses of a resident key before ``until``: others leave before it."""
        assert key in self._sizes
        self._sessions[key] = until

    def _victims(self, size: int, now: float) -> tuple[str, ...] | None:
        """Choose who leaves for ``size`` more bytes."""
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
        """Raise ``AssertionError`` if the books do not balance."""
        assert self._bytes == sum(self._sizes.values())
        assert self._bytes <= self.bytes_max
        assert self._holds.keys() <= self._sizes.keys()
        assert all(count > 0 for count in self._holds.values())
        assert self._sessions.keys() <= self._sizes.keys()
        assert Counter(self._replacement.leaving()) == Counter(self._sizes.keys())
        self._replacement.check_integrity()
