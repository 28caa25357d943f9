"""The logs and the trace of one request, as its sender may read them."""

from collections.abc import Mapping
from typing import NamedTuple

from populace.storage.records.errors import PopulaceError

AttributeValue = str | int | float | bool | tuple[str, ...]
"""What an attribute of a span may be."""


class LogLine(NamedTuple):
    """A line of the log of one process: ``process`` is its kind and ``number`` which of them.

    ``at`` is when, in UTC with microseconds: the order of these texts is that of the times. ``error_code`` is
    that of an error of ours, ``raised`` the type of an unexpected one; both are None without one.
    """

    at: str
    level: str
    logger: str
    message: str
    process: str
    number: int
    error_code: str | None = None
    raised: str | None = None


class RequestSpan(NamedTuple):
    """A span of a trace: what a process did for ``ms``, ``began_ms`` after the first span's beginning.

    ``process`` is the process's kind and ``number`` which of them. ``parent`` is the ``id`` of the span of
    which it is a part; None for a request, and for what has none here. ``error`` is the code, or the type, of
    the error that it ended in. ``attributes`` are by the names of ``actors/span_names.py``.
    """

    id: str
    parent: str | None
    name: str
    process: str
    number: int
    began_ms: float
    ms: float
    error: str | None
    attributes: Mapping[str, AttributeValue]


class RequestLog(NamedTuple):
    """The lines of the requests of one id, and the spans of their traces, each by time.

    ``trace`` is empty if none was written to the files of the server's machine. It has not everything unless
    ``is_whole``.
    """

    request_id: str
    lines: tuple[LogLine, ...]
    is_whole: bool
    trace: tuple[RequestSpan, ...] = ()


class RequestNotFound(PopulaceError):
    """No log line and no span belongs to a request of this id and tenant."""

    code = "request_not_found"
    template = (
        "There is no log line and no trace of a request {request:.200} of this key. A request without "
        "trouble leaves a line with POPULACE_LOG_LEVEL=debug only, and no trace with POPULACE_TELEMETRY=off; "
        "the oldest ones make room for new ones."
    )

    request: str
