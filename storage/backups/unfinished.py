"""Builds a directory that appears whole or not at all: under a hidden name beside it, then renamed."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Generator
from pathlib import Path

from populace.storage.backups.errors import DirectoryRefused
from populace.storage.records.files import disk_named, is_at, sync_directory


@contextlib.contextmanager
def building(target: Path) -> Generator[Path]:
    """Yield a hidden empty directory to fill, which becomes ``target`` when the block ends.

    The files in it must be durable then, with their names. If the block raises, nothing is left; the rest
    of a crash is removed when the same target is built next. Raises ``DirectoryRefused`` if ``target`` is
    not absent or empty, or is being built already, and ``DiskRefused``.
    """
    target = target.resolve()
    with disk_named(target):
        _refuse_taken(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = target.with_name(f".{target.name}.unfinished")
        descriptor = _locked_alone(hidden, target)
        try:
            for left in hidden.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield hidden
            sync_directory(hidden)
            _refuse_taken(target)
            hidden.rename(target)
            try:
                sync_directory(target.parent)
            except BaseException:
                target.rename(hidden)
                raise
        except BaseException:
            # Under the lock, so that it is ours and not that of the next builder.
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        finally:
            os.close(descriptor)


def _refuse_taken(target: Path) -> None:
    if target.is_dir():
        if any(target.iterdir()):
            raise DirectoryRefused(str(target), "it is not empty; name a directory that is empty or absent")
    elif target.exists():
        raise DirectoryRefused(str(target), "it is not a directory")


def _locked_alone(hidden: Path, target: Path) -> int:
    """Make the directory if it is absent, and lock it until the descriptor is closed."""
    while True:
        hidden.mkdir(exist_ok=True)
        descriptor = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DirectoryRefused(str(target), "another process is writing it just now") from None
        if is_at(hidden, descriptor):
            return descriptor
        # It was renamed or removed between opening and locking it.
        os.close(descriptor)
