"""Writes files that survive power loss: what is needed besides ``write`` and ``rename``."""

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from populace.storage.records.errors import DiskRefused


@contextlib.contextmanager
def disk_named(path: Path) -> Generator[None]:
    """Raise ``DiskRefused`` for any ``OSError`` within the block."""
    try:
        yield
    except OSError as error:
        raise DiskRefused(str(path), error.strerror or str(error)) from error


def sync_directory(path: Path) -> None:
    """Make the directory's entries durable: a rename is durable only once its directory is synced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the file's content durable, whichever process wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes | bytearray, *, mode: int = 0o644) -> None:
    """Replace the file's content as a whole: after a crash it is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the path still names the file that the descriptor was opened on."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def replaced_durably(path: Path) -> Generator[BinaryIO]:
    """Yield a new file to fill, which becomes ``path`` after the block; an error leaves ``path`` unchanged.

    Only this user may read it.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def forget_cached(path: Path) -> None:
    """Make the next read come from the disk, which may lack what a failed sync left in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
