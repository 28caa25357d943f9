"""Writes files that survive power loss: what is needed besides ``write`` and ``rename``."""

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from populace.storage.records.errors import DiskRefused

_TEMPORARY = ".tmp"


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
    """Replace the file's content as a whole: after a crash it is the old one or the new one.

    Of several processes that do so at once the last one's stays.
    """
    with replaced_durably(path, mode=mode) as file:
        file.write(data)


def is_temporary(name: str, path: Path) -> bool:
    """Whether a file of this name was left by a process that was killed while it replaced ``path``."""
    return name.startswith(_temporary_prefix(path)) and name.endswith(_TEMPORARY)


def _temporary_prefix(path: Path) -> str:
    return f".{path.name[:64]}."


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the path still names the file that the descriptor was opened on."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def replaced_durably(path: Path, *, mode: int = 0o600) -> Generator[BinaryIO]:
    """Yield a new file to fill, which becomes ``path`` after the block; an error leaves ``path`` unchanged.

    Only this user may read it, unless ``mode`` says otherwise.
    """
    # A name of its own: another process may write the same file at this moment.
    temporary = path.with_name(f"{_temporary_prefix(path)}{secrets.token_hex(8)}{_TEMPORARY}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
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
