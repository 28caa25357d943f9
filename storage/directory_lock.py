"""Allows one Populace for each data directory, and refuses a second one early and in words.

``populace serve`` holds the lock for the node that it runs on. The hosts of another node share it there.
"""

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

    def __init__(self, path: Path, owner: str, *, is_shared: bool = False) -> None:
        """Take the lock at once, alone or together with others that share it.

        Raises ``StoreInUse`` with the holder's text, and ``DiskRefused``.
        """
        self.path = path
        with disk_named(path):
            self._descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
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


def refuse_served(path: Path, *, also_shared: bool = False) -> None:
    """Raise ``StoreInUse`` if a Populace has the directory alone; hosts that share it are no reason.

    With ``also_shared`` they are one.
    """
    with disk_named(path), contextlib.suppress(FileNotFoundError), (path / LOCK_FILE).open() as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if also_shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreInUse(str(path), file.read(4096).strip() or "another process") from None


@contextlib.contextmanager
def alone_with_header(path: Path) -> Generator[None]:
    """Let one process at a time look for the header of the directory and write it; the others wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
