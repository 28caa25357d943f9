"""Measures ages by how long a shard was served and not by the wall clock.

A wall clock that is set forward for a moment would free operation ids, and a retry would then take
effect twice; it would also drop every log that is older than the 30 days that it skipped. One that is set
back would keep them for ever. So retention counts a time that only increases:

* it begins with the wall clock's time when the shard is first served, and never reads that again;
* it goes on at the rate of the monotonic clock of the host that serves the shard;
* it stands still while no host does, and a restart may lose up to ``SECONDS_FORGOTTEN_MAX`` of it.

Where this differs from true time, data is kept for longer and never for shorter than promised.
"""

SECONDS_UNRECORDED = 60.0
"""A write that comes later than this records the time too."""

SECONDS_FORGOTTEN_MAX = 3600.0
"""A host without turns records the time this often."""


class ServedTime:
    """The time of one shard while one host serves it. ``monotonic_s`` must not decrease."""

    def __init__(self, stored_ms: int | None, *, wall_ms: int, monotonic_s: float) -> None:
        """Go on from ``stored_ms``; None for a shard that was never served."""
        self._start_ms = wall_ms if stored_ms is None else stored_ms
        self._started_s = monotonic_s
        self._recorded_ms = stored_ms

    def now_ms(self, monotonic_s: float) -> int:
        return self._start_ms + int((monotonic_s - self._started_s) * 1000)

    def is_unrecorded(self, now_ms: int, seconds: float) -> bool:
        """Whether the store lags behind ``now_ms`` by that much, or knows nothing yet."""
        return self._recorded_ms is None or now_ms - self._recorded_ms >= seconds * 1000

    def note_recorded(self, now_ms: int) -> None:
        """Note that the store has recorded the served time ``now_ms``."""
        self._recorded_ms = max(now_ms, self._recorded_ms or now_ms)

    def check_integrity(self, monotonic_s: float) -> None:
        """Raise ``AssertionError`` if the recorded time is later than the served time."""
        assert self._recorded_ms is None or self._recorded_ms <= self.now_ms(monotonic_s)
