"""Finds the directory of a store's shards, which a resharding replaces.

In the data directory::

    shards/            the shards
    shards-<S>/        the S shards that a resharding makes: the store as soon as its header says S
    .shards-former/    the shards that a resharding replaced

A resharding makes ``shards-<S>`` durable and whole before it writes S into the header. That one write decides
which shards are the store, and ``settle`` gives them their usual name and removes the others.
"""

import contextlib
import shutil
from pathlib import Path

from populace.storage.records.files import sync_directory

SHARDS_DIRECTORY = "shards"

_FORMER_DIRECTORY = ".shards-former"


def locate_shards(path: Path, shards: int) -> Path:
    """Return the directory of the shards of a store whose header says that it has ``shards``."""
    made = resharded(path, shards)
    return made if made.is_dir() else path / SHARDS_DIRECTORY


def resharded(path: Path, shards: int) -> Path:
    """Return the directory in which a resharding makes that many shards."""
    return path / f"{SHARDS_DIRECTORY}-{shards}"


def shard_path(shards_directory: Path, number: int) -> Path:
    return shards_directory / f"{number:04d}"


def settle(path: Path, shards: int) -> None:
    """Give the shards of the store their usual name, and remove what a resharding left beside them.

    ``shards`` is what the header says. No resharding may be under way, and no shard be open. A crash leaves
    the rest to the next call.
    """
    made, usual, former = resharded(path, shards), path / SHARDS_DIRECTORY, path / _FORMER_DIRECTORY
    if made.is_dir():
        # The header is visible but perhaps not on disk yet, and must be before the former shards go.
        sync_directory(path)
        _remove(former)
        with contextlib.suppress(FileNotFoundError):
            usual.rename(former)
        sync_directory(path)
        made.rename(usual)
        sync_directory(path)
    for left in (*path.glob(f"{SHARDS_DIRECTORY}-*"), former):
        _remove(left)


def _remove(directory: Path) -> None:
    # What cannot be removed is left to a later call, and keeps no store from being served.
    shutil.rmtree(directory, ignore_errors=True)
