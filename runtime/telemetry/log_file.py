"""The file of a process's log, which turns over; a full disk costs lines and no more."""

import contextlib
import logging
import sys
import time
from pathlib import Path

from populace.telemetry.lines import json_of
from populace.telemetry.queued import LineRecord, Losses
from populace.telemetry.rotating_file import FILE_BYTES_MAX, FILES, RotatingFile

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
        self._file = RotatingFile(path, bytes_max=bytes_max, files=files)
        self._noticed_at = -NOTICE_SECONDS

    def emit(self, record: logging.LogRecord) -> None:
        if not isinstance(record, LineRecord):
            return
        lost = self._losses.taken()
        line = record.line | {"dropped": lost} if lost else record.line
        try:
            self._file.append(json_of(line).encode("utf-8", "backslashreplace") + b"\n")
        except Exception as error:
            # Whatever it is: no log is worth the thread that writes it.
            self._losses.add(lost + 1)
            self._file.close()
            self._notice(error)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _notice(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._noticed_at < NOTICE_SECONDS:
            return
        self._noticed_at = now
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        with contextlib.suppress(Exception):
            sys.stderr.write(f"The log {self._path} cannot be written ({reason}); its lines are dropped.\n")
            sys.stderr.flush()
