"""Allows one serving process for each data directory, and refuses a second one early and in words."""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Self

from populace.storage.records.errors import StoreInUse
from populace.storage.records.files import disk_named

LOCK_FILE = "LOCK"


class DirectoryLock:
    """The right to serve a data directory, until ``release`` or the end of the process.

    It shows early that a second server was started. It is not what keeps the data safe: the shards'
    epochs are.
    """

    def __init__(self, path: Path, owner: str) -> None:
        """Take the lock at once. Raises ``StoreInUse`` with the holder's text, and ``DiskRefused``."""
        self.path = path
        with disk_named(path):
            self._descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 4096, 0).decode(errors="replace").strip()
            self.release()
            raise StoreInUse(str(path), holder or "another process") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{owner} (process {os.getpid()})\n".encode(), 0)

    def release(self) -> None:
        """Give the directory up. Safe to call twice."""
        # The file stays: unlinking it would let two processes lock two files of one name.
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextlib.contextmanager
def alone_with_header(path: Path) -> Generator[None]:
    """Let one process at a time look for the header of the directory and write it; the others wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
