"""When a shard's file is worth writing anew: freed pages are reused, but never given back.

A compaction costs a copy of the live bytes while writes wait. With both bounds a file stays below
``max(live / (1 - FREE_SHARE_MIN), live + FREE_BYTES_MIN)``, and each byte copied gives back at least
one: the copies cost no more than the writes that freed the pages.
"""

FREE_SHARE_MIN = 0.5
FREE_BYTES_MIN = 64 * 2**20


def worth_compacting(
    bytes_used: int,
    bytes_free: int,
    *,
    free_share_min: float = FREE_SHARE_MIN,
    free_bytes_min: int = FREE_BYTES_MIN,
) -> bool:
    """Whether enough of the file's ``bytes_used`` is free: both the share and the bytes count."""
    return bytes_free >= free_bytes_min and bytes_free >= free_share_min * bytes_used
