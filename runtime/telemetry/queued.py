"""The way of a record to the thread that writes it: no event loop waits for a disk or a pipe."""

import contextlib
import logging
import sys
import threading
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

from populace.settings.settings import LogFormat
from populace.telemetry.lines import Line, Lines, is_our, json_of, text_of

QUEUED_MAX = 10_000
"""Records that may wait for a slow disk; further ones are dropped and counted."""


class LineRecord(logging.LogRecord):
    """A record of which the line is made, so that its arguments need not outlive the log call."""

    def __init__(self, record: logging.LogRecord, line: Line) -> None:
        super().__init__(record.name, record.levelno, record.pathname, record.lineno, line["msg"], None, None)
        self.line = line


class Losses:
    """Counts lines that were dropped until a line says so. Safe from many threads at once."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def add(self, count: int = 1) -> None:
        with self._lock:
            self._count += count

    def taken(self) -> int:
        """Return the count, and begin anew."""
        with self._lock:
            count, self._count = self._count, 0
        return count


class LineQueue(QueueHandler):
    """Makes the line of each record, in the task that logs it, and queues it. It never raises nor waits."""

    def __init__(self, queue: "SimpleQueue[Any]", lines: Lines, losses: Losses) -> None:
        super().__init__(queue)
        self._lines = lines
        self._losses = losses
        self._waiting = queue
        self.addFilter(_is_told)

    def prepare(self, record: logging.LogRecord) -> LineRecord:
        return LineRecord(record, self._lines.of(record))

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() < QUEUED_MAX:
            self._waiting.put_nowait(record)
        else:
            self._losses.add()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record
        self._losses.add()


class StandardError(logging.Handler):
    """Prints lines on the standard error of the moment, which a progress display may have replaced."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record, LineRecord):
            # A terminal that was closed must not end the thread, and is nothing to report.
            with contextlib.suppress(Exception):
                text = json_of(record.line) if self._form == "json" else text_of(record.line)
                sys.stderr.write(f"{text}\n")
                sys.stderr.flush()


def _is_told(record: logging.LogRecord) -> bool:
    """Whether a record is for our log: all of ours, others' warnings, nothing of Ray's, which has a log."""
    if is_our(record.name):
        return True
    return record.levelno >= logging.WARNING and record.name.partition(".")[0] != "ray"
