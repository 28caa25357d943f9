"""Takes over a shard: finds its environment, gets its writer lock, looks again, and writes the next epoch.

A compaction may make another generation current between the first look and the lock. Only the holder of the
lock of the generation that ``current`` names can change ``current``.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from populace.storage.records.errors import ShardStopped, StorageError, StoreInvalid
from populace.storage.shards import generations
from populace.storage.shards.ownership import take_ownership, write_header
from populace.storage.shards.rows import LmdbTransaction, Writer
from populace.storage.shards.takeover import open_watched


class Closable(Protocol):
    def close(self) -> None: ...


Environment = TypeVar("Environment", bound=Closable)
"""LMDB's environment; a type variable, so that only the two modules that use lmdb import it."""


class Claim(NamedTuple):
    """The opening of a shard by an owner."""

    path: Path
    number: int
    shard_count: int
    owner: str


def take_over(
    claim: Claim,
    open_environment: Callable[[Path], Environment],
    begin_write: Callable[[Environment], AbstractContextManager[LmdbTransaction]],
    *,
    fatal: type[Exception],
) -> tuple[Environment, Path, int]:
    """Return the shard's open environment, its directory and the new epoch.

    A stopped process that is in the way is killed. The remains of crashes and compactions are removed.
    Raises ``StoreInvalid`` and ``StoreVersionMismatch``, what ``open_environment`` raises, and
    ``ShardStopped`` for what is ``fatal``.
    """
    while True:
        place = generations.locate(claim.path)
        if place is None:
            raise StoreInvalid(str(claim.path), "there is no shard")
        try:
            environment, epoch = open_watched(
                place, functools.partial(_take, claim, place, open_environment, begin_write, fatal)
            )
        except _Moved:
            continue
        return environment, place, epoch


class _Moved(Exception):
    """A compaction made another generation current meanwhile."""


def _take(
    claim: Claim,
    place: Path,
    open_environment: Callable[[Path], Environment],
    begin_write: Callable[[Environment], AbstractContextManager[LmdbTransaction]],
    fatal: type[Exception],
    begin: Callable[[], None],
) -> tuple[Environment, int]:
    """Write the next epoch and return it, unless ``begin`` raises because the opening was given up."""
    try:
        environment = open_environment(place)
    except StorageError:
        _raise_if_moved(claim.path, place)
        raise
    try:
        with begin_write(environment) as transaction:
            _raise_if_moved(claim.path, place)
            begin()
            writer = Writer(transaction)
            if place == claim.path and next(writer.scan(b"", limit=1), None) is None:
                # Schema 1 made the environment first, and its header together with the first epoch.
                write_header(writer, claim.number, claim.shard_count)
            epoch = take_ownership(writer, str(claim.path), claim.number, claim.shard_count, claim.owner)
            generations.sweep(claim.path, place)
        return environment, epoch
    except BaseException as error:
        environment.close()
        # Errors of a file that was compacted away do not matter.
        _raise_if_moved(claim.path, place)
        if isinstance(error, (fatal, OSError)):
            raise ShardStopped(claim.number, str(error)) from error
        raise


def _raise_if_moved(path: Path, place: Path) -> None:
    if generations.locate(path) != place:
        raise _Moved
