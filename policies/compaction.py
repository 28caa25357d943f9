"""Decides when a shard's file is worth rewriting: freed pages are reused, but never returned.

A compaction costs a copy of the live bytes while writes wait. With both bounds a file stays below
``max(live / (1 - FREE_SHARE_MIN), live + FREE_BYTES_MIN)``, and each byte copied gives back at least
one: the copies cost no more than the writes that freed the pages.

An erasure always needs a compaction, as the names and the wrapped key of the erased model stay readable
until then. How long it may wait grows with the shard, so that many erasures share a copy.
"""

FREE_SHARE_MIN = 0.5
FREE_BYTES_MIN = 64 * 2**20

ERASED_SECONDS_PER_GIB = 60.0
"""The wait after an erasure for each GiB. A copy takes about 1 s, so erasures delay writes by 2 % at most."""
ERASED_SECONDS_MAX = 3600.0


def worth_compacting(
    bytes_used: int,
    bytes_free: int,
    *,
    free_share_min: float = FREE_SHARE_MIN,
    free_bytes_min: int = FREE_BYTES_MIN,
) -> bool:
    """Whether enough of the file's ``bytes_used`` is free: both the share and the bytes count."""
    return bytes_free >= free_bytes_min and bytes_free >= free_share_min * bytes_used


def erasure_due(bytes_used: int, erased_seconds: float) -> bool:
    """Whether to compact a shard now whose first uncompacted erasure was ``erased_seconds`` ago.

    An erasure in the future, because the wall clock was set back, is due at once.
    """
    wait_s = min(ERASED_SECONDS_MAX, bytes_used / 2**30 * ERASED_SECONDS_PER_GIB)
    return not 0 <= erased_seconds < wait_s
