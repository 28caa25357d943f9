"""The way of a record to the thread that writes it: no event loop waits for a disk or a pipe."""

import contextlib
import logging
import sys
import threading
from collections.abc import Sequence
from logging.handlers import QueueHandler, QueueListener
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


class Writer:
    """Gives records to a handler in a thread of its own; what it is too slow for counts in ``losses``."""

    def __init__(self, handler: logging.Handler, losses: Losses) -> None:
        self._handler = handler
        self._losses = losses
        self._waiting: SimpleQueue[Any] = SimpleQueue()
        self._listener = QueueListener(self._waiting, handler)
        self._listener.start()

    def put(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() < QUEUED_MAX:
            self._waiting.put_nowait(record)
        else:
            self._losses.add()

    def close(self, seconds_max: float) -> None:
        """Have what waits written and stop; what is not written by then is lost, and nothing waits for it."""
        ended = threading.Thread(target=self._listener.stop, daemon=True)
        ended.start()
        ended.join(max(0.0, seconds_max))
        if not ended.is_alive():
            self._handler.close()


class LineQueue(QueueHandler):
    """Makes the line of each record, in the task that logs it, for its writers. It never raises nor waits."""

    def __init__(self, writers: Sequence[Writer], lines: Lines, losses: Losses) -> None:
        super().__init__(SimpleQueue())  # ``enqueue`` has the writers' own
        self._writers = writers
        self._lines = lines
        self._losses = losses
        self.addFilter(_is_told)

    def prepare(self, record: logging.LogRecord) -> LineRecord:
        return LineRecord(record, self._lines.of(record))

    def enqueue(self, record: logging.LogRecord) -> None:
        for writer in self._writers:
            writer.put(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        del record
        self._losses.add()


class StandardError(logging.Handler):
    """Prints lines on the standard error of the moment, which a progress display may have replaced."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._form = form

    def createLock(self) -> None:  # noqa: N802
        """Make none: one thread writes, and at the process's end ``logging`` would wait for its lock."""
        self.lock = None

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
