"""Options and state of a store's journaling. Free of heavy imports."""

from typing import NamedTuple


class JournalOptions(NamedTuple):
    """The bucket's URL, whether a commit waits for it, and how far back a restore can go.

    ``run`` is that of the ``populace serve`` that it is for (``storage/journal/runs.py``), None if it is for
    none.
    """

    url: str
    is_sync: bool
    keep_seconds: float
    run: int | None = None


class JournalStatistics(NamedTuple):
    """A snapshot of the journals of a host's shards.

    ``behind_bytes`` are acknowledged and not in the journal yet, the oldest since ``behind_seconds``. Of the
    attempts to write to it, ``failures`` failed.
    """

    shards: int
    behind_bytes: int
    behind_seconds: float
    failures: int
