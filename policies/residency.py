"""Decides what stays in a tier of bounded bytes, and what leaves when something else comes.

A tier holds whole adapters of different sizes, by digest. The least recently used leaves first, and never
one that is held. On five kinds of traffic segmented LRU with sessions had 0.99 to 1.05 times its hits and
W-TinyLFU 0.98 to 1.04 (``docs/measurements/2026-11-26-residency-policy.md``), which does not pay for them.
"""

from collections import Counter, OrderedDict


class Residency:
    """The adapters of one tier, their sizes, and which are held."""

    def __init__(self, bytes_max: int) -> None:
        assert bytes_max > 0
        self.bytes_max = bytes_max
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0
        self._holds: Counter[str] = Counter()

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

    def leaving(self) -> tuple[str, ...]:
        """Return every resident key in the order of leaving, ignoring holds."""
        return tuple(self._sizes)

    def use(self, key: str) -> bool:
        """Note a use; return whether the key is resident. If not, the caller may ``admit`` it."""
        if key not in self._sizes:
            return False
        self._sizes.move_to_end(key)
        return True

    def admit(self, key: str, size: int) -> tuple[str, ...] | None:
        """Make ``size`` bytes of room and add the key; return the keys that left, in order.

        Returns None, and changes nothing, if held keys leave too little room or the tier is too small.
        """
        assert key not in self._sizes
        assert size >= 0
        victims = self._victims(size)
        if victims is None:
            return None
        for victim in victims:
            self.remove(victim)
        self._sizes[key] = size
        self._bytes += size
        return victims

    def remove(self, key: str) -> None:
        """Remove a resident key, which must not be held."""
        assert not self._holds[key]
        self._bytes -= self._sizes.pop(key)

    def hold(self, key: str) -> None:
        """Keep a resident key until ``release`` was called as often as ``hold``."""
        assert key in self._sizes
        self._holds[key] += 1

    def release(self, key: str) -> None:
        """End a hold. It is no use: what leaves the engine may have been idle there for long."""
        assert self._holds[key] > 0
        self._holds[key] -= 1
        if not self._holds[key]:
            del self._holds[key]

    def held(self, key: str) -> bool:
        return key in self._holds

    def _victims(self, size: int) -> tuple[str, ...] | None:
        """Choose the keys that leave for ``size`` more bytes; None if they are not enough."""
        excess = self._bytes + size - self.bytes_max
        chosen: list[str] = []
        for key, its_size in self._sizes.items():
            if excess <= 0:
                break
            if key not in self._holds:
                chosen.append(key)
                excess -= its_size
        return None if excess > 0 else tuple(chosen)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if sizes and holds contradict each other."""
        assert self._bytes == sum(self._sizes.values())
        assert self._bytes <= self.bytes_max
        assert self._holds.keys() <= self._sizes.keys()
        assert all(count > 0 for count in self._holds.values())
