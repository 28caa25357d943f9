"""A token bucket: how much may be taken now of a rate per minute, and how long to wait for more.

A bucket fills evenly, so that a limit of 600 a minute is one of ten a second; it holds what fills it in a
fortieth of a minute, or one at least. What is taken in any minute is therefore at most a fortieth more than
the limit, or one. A piece that is larger than the bucket may be taken from a full one, which owes the rest:
the next piece waits until that is made good, so that over time the limit holds for pieces of any size.

Who shares a limit with others takes a slice with what it needs, a two-hundredth of a minute's worth, and
serves from that: it asks three times a second at most, and four who share keep to the limit within 5 %.
"""

BURST = 1 / 40
"""The part of a minute's worth that a bucket holds."""

SLICE = 1 / 200
"""The part of a minute's worth that is taken in advance."""

_ROUNDING = 1e-9
"""The part of a minute's worth by which sums of floats may differ."""


class TokenBucket:
    """A full bucket that fills with ``per_minute``. All times are in seconds of one monotonic clock."""

    def __init__(self, per_minute: float, *, now_s: float) -> None:
        assert per_minute > 0
        self._per_minute = per_minute
        self._level = self.capacity
        self._at_s = now_s

    @property
    def capacity(self) -> float:
        return burst_of(self._per_minute)

    def resize(self, per_minute: float, *, now_s: float) -> None:
        """Fill with another rate from now on. What is owed stays owed, and what is over is poured away."""
        assert per_minute > 0
        self._level = self.level(now_s)
        self._at_s = now_s
        self._per_minute = per_minute
        self._level = min(self._level, self.capacity)

    def level(self, now_s: float) -> float:
        """Return what is in it; below 0, what is owed."""
        filled = max(0.0, now_s - self._at_s) * self._per_minute / 60
        return min(self.capacity, self._level + filled)

    def wait_s(self, amount: float, *, now_s: float) -> float:
        """Return how long to wait until ``amount`` may be taken, if nothing else is taken; 0: now."""
        lacking = min(amount, self.capacity) - self.level(now_s)
        return 0.0 if lacking <= _ROUNDING * self._per_minute else lacking * 60 / self._per_minute

    def take(self, amount: float, *, now_s: float) -> None:
        """Take ``amount``, whether or not it may be; a negative one is given back."""
        self._level = min(self.capacity, self.level(now_s) - amount)
        self._at_s = now_s

    def full_in_s(self, now_s: float) -> float:
        """Return how long it takes until the bucket is full."""
        return (self.capacity - self.level(now_s)) * 60 / self._per_minute


def burst_of(per_minute: float) -> float:
    """Return how much may be taken at once."""
    return max(1.0, per_minute * BURST)


def slice_of(per_minute: float) -> float:
    """Return how much more than it needs who shares a limit takes at once."""
    return per_minute * SLICE
