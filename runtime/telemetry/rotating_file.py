"""A file of lines that turns over before it is too large.

The standard library's rotating handler keeps what a full disk refused in its buffer, and does not notice that
its file was taken away. This one writes each line whole or not at all, to the file that has the name now.
"""

import contextlib
import errno
import os
from pathlib import Path

FILE_BYTES_MAX = 20 * 1000 * 1000
FILES = 5


class RotatingFile:
    """Appends to ``path``; older files are ``path.1`` to ``path.4``. Used by one thread."""

    def __init__(self, path: Path, *, bytes_max: int = FILE_BYTES_MAX, files: int = FILES) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._files = files
        self._descriptor: int | None = None
        self._is_torn = False

    def append(self, data: bytes) -> None:
        """Write a line, with its end. After an ``OSError`` ``close`` it; the next call opens it anew."""
        descriptor, size = self._opened()
        if size > 0 and size + len(data) > self._bytes_max:
            self._turn_over()
            descriptor, _ = self._opened()
        if self._is_torn:
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written < len(data):
            # A full disk takes what fits. What is torn ends with the next line's beginning.
            self._is_torn = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_torn = False

    def _opened(self) -> tuple[int, int]:
        """Return a descriptor of the file that has the name now, and its size."""
        if self._descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                named, own = self._path.stat(), os.fstat(self._descriptor)
                if os.path.samestat(named, own):
                    return self._descriptor, own.st_size
        self.close()
        # Not its parents: a data directory that was moved away must not appear again for a log.
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        size = os.fstat(self._descriptor).st_size
        # Also by a process before this one, which a full disk or a kill had in the middle of a line.
        self._is_torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        return self._descriptor, size

    def _turn_over(self) -> None:
        self.close()
        for number in range(self._files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                older_name(self._path, number - 1).replace(older_name(self._path, number))
        self._is_torn = False

    def close(self) -> None:
        """Let go of the file. Safe to call twice, and ``append`` opens it again."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def older_name(path: Path, number: int) -> Path:
    """Return the name of the ``number``-th older file of a log; 0 is the log itself."""
    return path if number == 0 else path.with_name(f"{path.name}.{number}")
