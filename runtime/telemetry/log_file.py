"""The file of a process's log: it turns over before it is too large, and a full disk costs lines and no more.

The standard library's rotating handler keeps what a full disk refused in its buffer, and does not notice that
its file was taken away. This one writes each line whole or not at all, to the file that has the name now.
"""

import contextlib
import errno
import logging
import os
import sys
import time
from pathlib import Path

from populace.telemetry.lines import json_of
from populace.telemetry.queued import LineRecord, Losses

FILE_BYTES_MAX = 20 * 1000 * 1000
FILES = 5
NOTICE_SECONDS = 60.0


class LogFile(logging.Handler):
    """Appends JSON lines to ``path``; older files are ``path.1`` to ``path.4``. Used by one thread.

    A line that cannot be written is counted in ``losses`` and dropped, and the next one that is written says
    how many were. It never raises; standard error hears of it once in ``NOTICE_SECONDS``.
    """

    def __init__(
        self, path: Path, losses: Losses, *, bytes_max: int = FILE_BYTES_MAX, files: int = FILES
    ) -> None:
        super().__init__()
        self._path = path
        self._losses = losses
        self._bytes_max = bytes_max
        self._files = files
        self._descriptor: int | None = None
        self._is_torn = False
        self._noticed_at = -NOTICE_SECONDS

    def emit(self, record: logging.LogRecord) -> None:
        if not isinstance(record, LineRecord):
            return
        lost = self._losses.taken()
        line = record.line | {"dropped": lost} if lost else record.line
        try:
            self._append(json_of(line).encode("utf-8", "backslashreplace") + b"\n")
        except Exception as error:
            # Whatever it is: no log is worth the thread that writes it.
            self._losses.add(lost + 1)
            self._let_go()
            self._notice(error)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _append(self, data: bytes) -> None:
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
        self._let_go()
        # Not its parents: a data directory that was moved away must not appear again for a log.
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor, os.fstat(self._descriptor).st_size

    def _turn_over(self) -> None:
        self._let_go()
        for number in range(self._files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                older_name(self._path, number - 1).replace(older_name(self._path, number))
        self._is_torn = False

    def _let_go(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _notice(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._noticed_at < NOTICE_SECONDS:
            return
        self._noticed_at = now
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        with contextlib.suppress(Exception):
            sys.stderr.write(f"The log {self._path} cannot be written ({reason}); its lines are dropped.\n")
            sys.stderr.flush()


def older_name(path: Path, number: int) -> Path:
    """Return the name of the ``number``-th older file of a log; 0 is the log itself."""
    return path if number == 0 else path.with_name(f"{path.name}.{number}")
