"""Checks a shard's file for cuts and damage, and reads a snapshot of it without owning it."""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import lmdb
from lmdb import verify

from populace.storage.records.errors import DiskRefused, StoreDamaged, StoreInUse, StoreInvalid
from populace.storage.records.transaction import ReadTransaction
from populace.storage.shards import generations
from populace.storage.shards.rows import LmdbTransaction, Reader

_verifier: Any = verify  # it has no types


def check_pages(path: Path) -> None:
    """Raise ``StoreDamaged`` if the pages of the shard contradict each other; about 7 s for each GB.

    LMDB itself may kill the process at such a page. There must be no writer meanwhile. A file that
    is no environment raises ``StoreInvalid``.
    """
    place = generations.locate(path)
    found = None if place is None else damage_of(place)
    if found is not None:
        raise StoreDamaged(str(path), found)


def damage_of(place: Path) -> str | None:
    """Walk over all pages of an environment; return the first contradiction. Raises ``StoreInvalid``."""
    data = place / generations.DATA_FILE
    size = data.stat().st_size
    try:
        with data.open("rb") as file:
            walk = _verifier._Verifier(file, size)  # ``verify.verify`` does not return the walk itself
            found: list[str] = walk.verify()
    except _verifier.VerifyError as error:
        raise StoreInvalid(str(place), f"{error}; restore the data directory from a backup") from error
    # It reads only the first page of a long value, so a file may have lost the others.
    if not found and any(walk.live[size // walk.psize :]):
        return "a page that is in use lies beyond the end of the file"
    return str(found[0]) if found else None


def raise_if_cut(environment: lmdb.Environment) -> None:
    """Raise ``StoreDamaged`` for a file that lost its end: reading beyond it kills the process (SIGBUS).

    The caller holds the writer lock.
    """
    pages = environment.info()["last_pgno"] + 1
    place = Path(environment.path())
    if (place / generations.DATA_FILE).stat().st_size >= pages * environment.stat()["psize"]:
        return
    # Pages that were freed by the transaction that made them were never written. A walk over all
    # pages distinguishes that from a loss, while the writer lock keeps them unchanged.
    found = damage_of(place)
    if found is not None:
        raise StoreDamaged(environment.path(), f"the file lost its end ({found})")


@contextlib.contextmanager
def read_snapshot(path: Path) -> Generator[ReadTransaction]:
    """Read one consistent snapshot of a shard, even while another process writes to it.

    Sealed values are returned as they are. The snapshot pins the pages that are freed meanwhile.
    Raises ``StoreInvalid``, ``DiskRefused``, and ``StoreInUse`` if this process has the shard open.
    """
    with begin_snapshot(path) as transaction:
        yield Reader(transaction)


@contextlib.contextmanager
def begin_snapshot(path: Path) -> Generator[LmdbTransaction]:
    """Begin the transaction of ``read_snapshot``, for readers that open what is sealed."""
    try:
        with _open(path) as environment, _begin(environment) as transaction:
            yield transaction
    except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
        raise StoreInvalid(str(path), f"{error}; restore the data directory from a backup") from error
    except lmdb.Error as error:
        if "already open in this process" in str(error):
            raise StoreInUse(str(path), "this process") from error
        raise DiskRefused(str(path), str(error)) from error


def _begin(environment: lmdb.Environment) -> "lmdb.Transaction[bytes]":
    try:
        return environment.begin()
    except lmdb.MapResizedError:
        # The owner has written beyond the end that the file had when it was opened here.
        environment.set_mapsize(0)
        return environment.begin()


def _open(path: Path) -> lmdb.Environment:
    while True:
        place = generations.locate(path)
        if place is None:
            raise StoreInvalid(str(path), "there is no shard")
        try:
            return lmdb.open(str(place), readonly=True, create=False, readahead=False, max_spare_txns=0)
        except lmdb.Error:
            # A compaction may have made another generation current meanwhile.
            if generations.locate(path) == place:
                raise
