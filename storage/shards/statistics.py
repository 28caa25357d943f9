"""Measures how large a shard is, how much of it is free, and which reads keep pages from being reused."""

from collections.abc import Collection
from typing import NamedTuple, Protocol, TypedDict

from populace.storage.records.erasures import Erased
from populace.storage.shards.reads import Read

MAP_SHARE_MAX = 0.8
"""Above this share of use, a map is doubled before the next write if no read is in progress then."""

_META_PAGES = 2


class ShardStatistics(NamedTuple):
    """The size of a shard. Of its ``bytes_used``, ``bytes_free`` hold no row and are what a compaction frees.

    ``reader_slots`` are taken by all processes together; the oldest snapshot is ``reader_lag``
    transactions old. ``long_reads`` names the threads of this process whose reads are older than the
    bound. ``erased`` are the erasures that wait for a compaction, None without any. ``full_maps`` counts
    how often a write of this owner met a full map and had to start again.
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
    """The part of LMDB that is used, declared here so that this file does not import it."""

    def info(self) -> _Information: ...

    def stat(self) -> _Tree: ...

    def readers(self) -> str: ...


def measure(
    environment: LmdbEnvironment, *, erased: bytes | None, long_reads: Collection[Read], full_maps: int
) -> ShardStatistics:
    """Measure the environment. ``erased`` is the value of its row ``keys.ERASED_KEY``."""
    slots, oldest = _snapshots(environment.readers())
    information, tree = environment.info(), environment.stat()
    # Each page is a meta page, a page of the tree, or free; the list of free pages counts as free.
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
    """The share of the map that has been used; at 1.0 it is full, unless freed pages can be reused."""
    information = environment.info()
    return (information["last_pgno"] + 1) * environment.stat()["psize"] / information["map_size"]


def _snapshots(table: str) -> tuple[int, int | None]:
    """Parse LMDB's table of readers: the number of slots taken, and the oldest transaction being read.

    A line is process, thread and transaction, with ``-`` for a slot that is kept between two reads.
    """
    slots = [line.split() for line in table.splitlines()[1:] if line.strip()]
    snapshots = [int(slot[2]) for slot in slots if slot[2:] and slot[2].isdigit()]
    return len(slots), min(snapshots, default=None)
