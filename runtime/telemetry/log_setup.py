"""Starts the log of this process, and stops it."""

import atexit
import contextlib
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from populace.actors.turn import ModelId
from populace.telemetry.lines import OURS, Lines, json_of
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.queued import LineQueue, LineRecord, Losses, StandardError, Writer
from populace.telemetry.rotating_file import FILE_BYTES_MAX, FILES, RotatingFile
from populace.telemetry.serve_log import SERVE_LOGGER, ServeErrors
from populace.telemetry.wording import Wording

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


logger = logging.getLogger(__name__)

CLOSE_SECONDS_MAX = 2.0

_running: "list[RunningLog]" = []
"""The log of this process, if it was set up: there is one, as there is one root logger."""


class RunningLog:
    """Takes what this process logs until ``close``."""

    def __init__(self, options: TelemetryOptions, process: str, number: int) -> None:
        """Use ``log_setup``."""
        losses = Losses()
        self.wording = Wording(options.name_key, names_plain=options.names_plain)
        form = options.log_format or ("text" if sys.stderr.isatty() else "json")
        # Each has a thread of its own: who stops reading our standard error does not stop the file.
        self._writers = [
            Writer(LogFile(options.directory / f"{process}-{number}.jsonl", losses), losses),
            Writer(StandardError(form), Losses()),
        ]
        self._handler = LineQueue(self._writers, Lines(process, number, self.wording), losses)
        self._serve_errors = ServeErrors(self.wording)
        SERVE_LOGGER.addFilter(self._serve_errors)
        ours = logging.getLogger(OURS)
        self._level_before = ours.level
        ours.setLevel(options.log_level.upper())
        logging.getLogger().addHandler(self._handler)

    def close(self) -> None:
        """Write what was logged, within a time limit, and take no more. Safe to call twice."""
        if self not in _running:
            return
        _running.remove(self)
        atexit.unregister(self.close)
        logging.getLogger().removeHandler(self._handler)
        logging.getLogger(OURS).setLevel(self._level_before)
        SERVE_LOGGER.removeFilter(self._serve_errors)
        ends_at = time.monotonic() + CLOSE_SECONDS_MAX
        for writer in self._writers:
            writer.close(ends_at - time.monotonic())


def log_setup(options: TelemetryOptions | None, process: str, number: int = 0) -> Callable[[], None]:
    """Log to ``<directory>/<process>-<number>.jsonl`` and to standard error from now on.

    ``process`` is the kind of this process, such as ``host``. A log that was set up before ends. Returns what
    ends this one; it ends with the process by itself. None sets up nothing. Never raises because of the disk.
    """
    if options is None:
        return lambda: None
    for former in _running:
        former.close()
    log = RunningLog(options, process, number)
    _running.append(log)
    atexit.register(log.close)
    logger.info("%s %d begins", process, number)
    return log.close


def digest_of(name: str) -> str | None:
    """Return the keyed hash of a name in the log of this process; None if it has none."""
    return _running[0].wording.digest(name) if _running else None


def request_id_of_job(model: ModelId, number: int) -> str | None:
    """Return the request id of a training job's log lines and trace, the same in all processes.

    It has hashes also where names are written, since it is looked up by HTTP. None without a log.
    """
    tenant, name = digest_of(model.tenant), digest_of(model.name)
    return None if tenant is None or name is None else f"job-{tenant}.{name}-{number}"
