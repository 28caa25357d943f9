"""How large a shard is, how much of that is waste, and who keeps it from being reused."""

from collections.abc import Collection
from typing import NamedTuple, Protocol, TypedDict

from populace.storage.records.erasures import Erased
from populace.storage.shards.reads import Read

MAP_SHARE_MAX = 0.8
"""A map that is used so far is doubled before the next write, if no read is in progress just then."""

_META_PAGES = 2


class ShardStatistics(NamedTuple):
    """Of the file's ``bytes_used``, ``bytes_free`` hold no row: a compaction gives exactly these back.

    ``reader_slots`` of all processes are taken; the oldest snapshot is ``reader_lag`` transactions
    old. ``long_reads`` names the threads of this process whose reads are older than the bound.
    ``erased`` are the erasures that wait for a compaction, None without any.
    ``full_maps`` counts the times that a write of this owner met a full map and had to begin anew.
    """

    entries: int
    bytes_used: int
    bytes_free: int
    bytes_map: int
    reader_slots: int
    reader_lag: int
    long_reads: tuple[str, ...]
    erased: Erased | None
    full_maps: int


class _Information(TypedDict):
    map_size: int
    last_pgno: int
    last_txnid: int


class _Tree(TypedDict):
    psize: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int


class LmdbEnvironment(Protocol):
    """What is asked of LMDB, written down so that this file does not import it."""

    def info(self) -> _Information: ...

    def stat(self) -> _Tree: ...

    def readers(self) -> str: ...


def measure(
    environment: LmdbEnvironment, *, erased: bytes | None, long_reads: Collection[Read], full_maps: int
) -> ShardStatistics:
    """Measure the environment. ``erased`` is the value of its row ``keys.ERASED_KEY``."""
    slots, oldest = _snapshots(environment.readers())
    information, tree = environment.info(), environment.stat()
    # Each page is a meta page, one of the tree's, or free; the list of the free ones counts as free.
    pages = information["last_pgno"] + 1
    pages_live = _META_PAGES + tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"]
    return ShardStatistics(
        entries=tree["entries"],
        bytes_used=pages * tree["psize"],
        # A commit between the two calls may have made one newer than the other.
        bytes_free=max(0, pages - pages_live) * tree["psize"],
        bytes_map=information["map_size"],
        reader_slots=slots,
        reader_lag=0 if oldest is None else max(0, information["last_txnid"] - oldest),
        long_reads=tuple(read.thread for read in long_reads),
        erased=None if erased is None else Erased.unpack(erased),
        full_maps=full_maps,
    )


def map_share(environment: LmdbEnvironment) -> float:
    """How much of the map has been in use; at 1.0 it is full, unless freed pages can be used again."""
    information = environment.info()
    return (information["last_pgno"] + 1) * environment.stat()["psize"] / information["map_size"]


def _snapshots(table: str) -> tuple[int, int | None]:
    """Read LMDB's table of readers: how many slots are taken, and the oldest transaction that is read.

    A line is process, thread and transaction, with ``-`` for a slot that is kept between two reads.
    """
    slots = [line.split() for line in table.splitlines()[1:] if line.strip()]
    snapshots = [int(slot[2]) for slot in slots if slot[2:] and slot[2].isdigit()]
    return len(slots), min(snapshots, default=None)
