"""Decides how soon a shard that could not be opened is tried again."""

SECONDS_FIRST = 1.0
SECONDS_MAX = 60.0
SHARE_OF_TIME = 0.1
"""A shard of many GB takes minutes to read, and its disk serves the other shards too."""
SECONDS_AWAY_MAX = 5.0
"""What is away, such as an object store that hangs, costs a request each time, and people wait for it."""


def seconds_until_next(failures: int, seconds_taken: float, *, is_away: bool = False) -> float:
    """Return how long to wait after that many failures in a row, the last of which took ``seconds_taken``.

    The wait doubles from a second to a minute, and is longer so that attempts take a tenth of the time. If
    the shard ``is_away``, kept from being opened by what does not answer, it doubles to some seconds alone.
    """
    doubled = SECONDS_FIRST * 2 ** min(failures - 1, 16)
    if is_away:
        return min(doubled, SECONDS_AWAY_MAX)
    return max(min(doubled, SECONDS_MAX), seconds_taken * (1 / SHARE_OF_TIME - 1))
