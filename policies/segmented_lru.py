"""Least recently used first: plain, and in two segments so that keys used once leave before those used again.

Segmented LRU: R. Karedla, J. S. Love, B. G. Wherry, "Caching strategies to improve disk system
performance", Computer 27(3), 1994.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain

PROTECTED_SHARE = 0.8


class Lru:
    """The key whose last use is longest ago leaves first."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self.bytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def insert(self, key: str, size: int) -> None:
        self._sizes[key] = size
        self.bytes += size

    def touch(self, key: str) -> None:
        self._sizes.move_to_end(key)

    def remove(self, key: str) -> None:
        self.pop(key)

    def pop(self, key: str) -> int:
        """Remove a key; return its size."""
        size = self._sizes.pop(key)
        self.bytes -= size
        return size

    def oldest(self) -> str:
        return next(iter(self._sizes))

    def leaving(self) -> Iterator[str]:
        return iter(self._sizes)

    def items(self) -> Iterator[tuple[str, int]]:
        """Every key with its size, in the order of leaving."""
        return iter(self._sizes.items())

    def check_integrity(self) -> None:
        assert self.bytes == sum(self._sizes.values())


class SegmentedLru:
    """Keys that were used once are on probation and leave first, those that were used again are protected.

    A scan over many keys passes through probation only. The protected segment has a share of the bytes;
    its least recently used keys go back on probation.
    """

    def __init__(self, bytes_max: int, *, protected_share: float = PROTECTED_SHARE) -> None:
        self.protected_bytes_max = int(bytes_max * protected_share)
        self._probation: Lru = Lru()
        self._protected: Lru = Lru()

    def __contains__(self, key: str) -> bool:
        return key in self._probation or key in self._protected

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def insert(self, key: str, size: int) -> None:
        self._probation.insert(key, size)

    def touch(self, key: str) -> None:
        if key in self._protected:
            self._protected.touch(key)
            return
        self._protected.insert(key, self._probation.pop(key))
        self.settle()

    def settle(self) -> None:
        """Move keys beyond the protected segment's bytes back on probation."""
        while self._protected.bytes > self.protected_bytes_max:
            key = self._protected.oldest()
            self._probation.insert(key, self._protected.pop(key))

    def remove(self, key: str) -> None:
        (self._probation if key in self._probation else self._protected).remove(key)

    def leaving(self) -> Iterator[str]:
        return chain(self._probation.leaving(), self._protected.leaving())

    def check_integrity(self) -> None:
        assert self._protected.bytes <= self.protected_bytes_max
        self._probation.check_integrity()
        self._protected.check_integrity()
