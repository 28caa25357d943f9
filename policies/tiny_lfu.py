"""W-TinyLFU: a small window for new keys; behind it, keys used more often than the next to leave.

G. Einziger, R. Friedman, B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 13(4),
2017; the window that adapts: G. Einziger, O. Eytan, R. Friedman, B. Manes, "Adaptive Software Cache
Management", Middleware 2018.
"""

import zlib
from collections.abc import Iterator

from populace.policies.segmented_lru import PROTECTED_SHARE, Lru, SegmentedLru

WINDOW_SHARE_MIN = 0.01
WINDOW_SHARE_FIRST = 0.5
"""The window's first share of the bytes. People come in sessions: from 0.01 it took too long to grow, see
``populace bench residency-policy``."""
WINDOW_SHARE_MAX = 0.8
STEP_SHARE = 0.0625
"""The first step of the window, as a share of the bytes, when the traffic has changed."""
STEP_DECAY = 0.98
RESTART_CHANGE = 0.05
"""A change of the hit rate by this much means that the traffic has changed."""

SAMPLE_USES = 10
"""After this many uses for each resident key, frequencies are halved and the window is moved."""

ROWS = 4
COUNT_MAX = 15
_HALVED = bytes(count >> 1 for count in range(256))
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
_BITS = 2**64 - 1


class FrequencySketch:
    """Estimates how often each key was used lately, in constant memory: a count-min sketch that ages.

    Too many keys make counts too high, never too low, until ``halve`` forgets half of each.
    """

    def __init__(self, columns: int) -> None:
        """Keep ``ROWS`` counts up to ``COUNT_MAX`` in each of ``columns``, rounded up to a power of two."""
        self._shift = 64 - max(1, (columns - 1).bit_length())
        self._rows = [bytearray(1 << (64 - self._shift)) for _ in range(ROWS)]

    def add(self, key: str) -> None:
        for row, place in zip(self._rows, self._places(key), strict=True):
            if row[place] < COUNT_MAX:
                row[place] += 1

    def count(self, key: str) -> int:
        return min(row[place] for row, place in zip(self._rows, self._places(key), strict=True))

    def halve(self) -> None:
        self._rows = [row.translate(_HALVED) for row in self._rows]

    def _places(self, key: str) -> Iterator[int]:
        # Not hash(): it differs between processes, and a simulation should not.
        found = zlib.crc32(key.encode())
        return (((found + 1) * by & _BITS) >> self._shift for by in _MULTIPLIERS)


class TinyLfu:
    """New keys enter a window; a key that leaves it must be used more often than the key that it replaces.

    The window adapts to the hit rate: large for traffic in sessions, small for steady favourites.
    """

    def __init__(self, bytes_max: int, *, entries: int = 4096, adaptive: bool = True) -> None:
        """Expect about ``entries`` resident keys."""
        self._bytes_max = bytes_max
        self._adaptive = adaptive
        self._sketch = FrequencySketch(8 * entries)
        self._window: Lru = Lru()
        self._main: SegmentedLru = SegmentedLru(bytes_max)
        self._uses = self._hits = 0
        self._last_hit_rate = 0.0
        self._step = STEP_SHARE * bytes_max
        self.window_bytes_max = 0
        self._set_window(WINDOW_SHARE_FIRST * bytes_max)

    def insert(self, key: str, size: int) -> None:
        self._note_use(key, hit=False)
        self._window.insert(key, size)
        self._settle_window()

    def touch(self, key: str) -> None:
        self._note_use(key, hit=True)
        (self._window if key in self._window else self._main).touch(key)

    def remove(self, key: str) -> None:
        (self._window if key in self._window else self._main).remove(key)

    def leaving(self) -> Iterator[str]:
        """The oldest of a full window or the next of the main segments, whichever is used less often.

        Of two that are used equally often the one in the window leaves: a scan must not replace resident
        keys.
        """
        window, main = self._window.items(), self._main.leaving()
        newcomer, resident = next(window, None), next(main, None)
        left = self._window.bytes
        while newcomer is not None and resident is not None:
            key, size = newcomer
            is_full = left + size > self.window_bytes_max
            if is_full and self._sketch.count(key) <= self._sketch.count(resident):
                left -= size
                yield key
                newcomer = next(window, None)
            else:
                yield resident
                resident = next(main, None)
        if resident is not None:
            yield resident
            yield from main
        if newcomer is not None:
            yield newcomer[0]
            yield from (key for key, _ in window)

    def _settle_window(self) -> None:
        """Move keys for which the window has no bytes out of it, but never the newest one."""
        while self._window.bytes > self.window_bytes_max and len(self._window) > 1:
            key = self._window.oldest()
            self._main.insert(key, self._window.pop(key))

    def _note_use(self, key: str, *, hit: bool) -> None:
        self._sketch.add(key)
        self._uses += 1
        self._hits += hit
        if self._uses >= SAMPLE_USES * max(10, len(self._window) + len(self._main)):
            self._sketch.halve()
            if self._adaptive:
                self._climb(self._hits / self._uses)
            self._uses = self._hits = 0

    def _climb(self, hit_rate: float) -> None:
        """Change the window in the same direction if the hit rate rose, else back, by shrinking steps."""
        change = hit_rate - self._last_hit_rate
        self._last_hit_rate = hit_rate
        step = self._step if change >= 0 else -self._step
        self._set_window(self.window_bytes_max + step)
        if abs(change) >= RESTART_CHANGE:
            self._step = STEP_SHARE * self._bytes_max * (1 if step >= 0 else -1)
        else:
            self._step = step * STEP_DECAY

    def _set_window(self, size: float) -> None:
        least, most = WINDOW_SHARE_MIN * self._bytes_max, WINDOW_SHARE_MAX * self._bytes_max
        self.window_bytes_max = int(min(most, max(least, size)))
        self._main.protected_bytes_max = int((self._bytes_max - self.window_bytes_max) * PROTECTED_SHARE)
        self._main.settle()
        self._settle_window()

    def check_integrity(self) -> None:
        self._window.check_integrity()
        self._main.check_integrity()
