"""The runs of a store with a journal: each ``populace serve`` that goes on with it begins the next one.

In a bucket::

    <store id>/runs/<number>    an empty object that is created only if absent

The hosts of a run claim the journals of their shards with epochs of that run, and do not claim one that a
later run has. So what is left of a former ``populace serve``, a host that Ray starts again for example,
cannot take a shard back from those that came after it.
"""

from collections.abc import Callable

from populace.storage.journal.bucket import Bucket
from populace.storage.journal.segment import number_in, numbered

COUNT_BITS = 32
"""An epoch has the run in the bits above these, and counts the claims of the run in these."""


def begin_run(bucket: Bucket, store_id: str, newest_epoch: Callable[[], int]) -> int:
    """Begin the next run of a store, and return its number.

    If the bucket has no run, ``newest_epoch`` is asked for that of all shards, from which it goes on: those
    that were may have been lost. Raises ``BucketUnreachable`` and ``BucketRefused``.
    """
    folder = f"{store_id}/runs"
    while True:
        former = bucket.names(folder)
        number = 1 + (number_in(former[-1].name) if former else run_of(newest_epoch()))
        name = f"{folder}/{numbered(number)}"
        # Another one may begin it at this moment, or begin a later one and remove it.
        if bucket.create(name, b"") and bucket.names(folder)[-1].name == name:
            bucket.remove([found.name for found in former])
            return number


def run_of(epoch: int) -> int:
    """Return the run that an epoch belongs to; 0 for one that was claimed outside of a run."""
    return epoch >> COUNT_BITS


def next_epoch(former: int, run: int) -> int:
    """Return the epoch of a claim in a run behind the epoch of the former owner."""
    return max(former, run << COUNT_BITS) + 1
