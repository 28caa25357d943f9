"""Opens LMDB environments of shards, and begins their transactions."""

from collections.abc import Iterable
from pathlib import Path

import lmdb

from populace.storage.records.errors import DiskRefused, StoreInUse, StoreInvalid
from populace.storage.records.files import disk_named
from populace.storage.shards import generations
from populace.storage.shards.ownership import write_header
from populace.storage.shards.pages import raise_if_cut
from populace.storage.shards.rows import Writer, put_verbatim

MAP_BYTES = 64 * 2**30
"""The initial size of the map. It reserves addresses, not disk or memory: the file grows as it is written."""

READERS_MAX = 1024

DAMAGED = (lmdb.CorruptedError, lmdb.PageNotFoundError)
"""The errors of a page that does not contain what was written."""

BROKEN = (*DAMAGED, lmdb.PanicError, lmdb.DiskError)
"""The errors of a read that repeating it does not cure."""


def create_environment(
    path: Path, number: int, shard_count: int, rows: Iterable[tuple[bytes, bytes]]
) -> None:
    """Make the first environment of a shard with these rows, durably, unless there is one.

    Raises ``DiskRefused``, and what iterating over ``rows`` raises; there is no shard then.
    """

    def fill(generation: Path) -> None:
        generations.reserve_lock(generation, READERS_MAX)
        # A generation is synced before it becomes current.
        with lmdb.open(str(generation), map_size=MAP_BYTES, sync=False) as environment:
            with environment.begin(write=True) as txn:
                write_header(Writer(txn), number, shard_count)
            put_verbatim(rows, lambda: environment.begin(write=True))

    if generations.locate(path) is None:
        try:
            generations.create(path, fill)
        except (lmdb.Error, OSError) as error:
            raise DiskRefused(str(path), str(error)) from error


def open_environment(shard: Path, map_bytes: int, place: Path) -> lmdb.Environment:
    """Open the environment in ``place`` to write. ``shard`` is the directory of the shard, for messages.

    Raises ``StoreInvalid``, ``StoreInUse`` if this process has it open, and ``DiskRefused``.
    """
    with disk_named(place):
        generations.reserve_lock(place, READERS_MAX)
    try:
        environment = lmdb.open(
            str(place),
            map_size=map_bytes,
            max_readers=READERS_MAX,
            max_spare_txns=16,
            readahead=False,
            create=False,
        )
        # A process that was killed while reading pins pages until its slot is cleared.
        environment.reader_check()
    except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
        raise StoreInvalid(str(place), f"{error}; restore the data directory from a backup") from error
    except lmdb.Error as error:
        if "already open in this process" in str(error):
            raise StoreInUse(str(shard), "this process") from error
        raise DiskRefused(str(place), str(error)) from error
    return environment


def begin_whole(environment: lmdb.Environment) -> "lmdb.Transaction[bytes]":
    """Begin to write unless the file lost its end. Raises as ``raise_if_cut`` does."""
    transaction = begin_write(environment)
    try:
        raise_if_cut(environment)
    except BaseException:
        transaction.abort()
        raise
    return transaction


def begin_write(environment: lmdb.Environment) -> "lmdb.Transaction[bytes]":
    try:
        return environment.begin(write=True)
    except lmdb.MapResizedError:
        # The next owner grew the map; adopt its size, then find its newer epoch.
        environment.set_mapsize(0)
        return environment.begin(write=True)


def begin_read(environment: lmdb.Environment) -> "lmdb.Transaction[bytes]":
    try:
        return environment.begin()
    except lmdb.ReadersFullError:
        environment.reader_check()
        return environment.begin()
