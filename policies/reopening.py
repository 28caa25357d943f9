"""Decides how soon a shard that could not be opened is tried again."""

SECONDS_FIRST = 1.0
SECONDS_MAX = 60.0
SHARE_OF_TIME = 0.1
"""A shard of many GB takes minutes to read, and its disk serves the other shards too."""


def seconds_until_next(failures: int, seconds_taken: float) -> float:
    """Return how long to wait after that many failures in a row, the last of which took ``seconds_taken``.

    The wait doubles from a second to a minute, and is longer so that attempts take a tenth of the time.
    """
    doubled = SECONDS_FIRST * 2 ** min(failures - 1, 16)
    return max(min(doubled, SECONDS_MAX), seconds_taken * (1 / SHARE_OF_TIME - 1))
