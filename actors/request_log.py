"""What the log has of one request, as whoever sent it may read it."""

from typing import NamedTuple

from populace.storage.records.errors import PopulaceError


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


class RequestLog(NamedTuple):
    """The lines of the requests of one id, by time. It has not all of them unless ``is_whole``."""

    request_id: str
    lines: tuple[LogLine, ...]
    is_whole: bool


class RequestNotFound(PopulaceError):
    """No log line belongs to a request of this id and tenant."""

    code = "request_not_found"
    template = (
        "There is no log line of a request {request:.200} of this key. A request without trouble leaves one "
        "with POPULACE_LOG_LEVEL=debug only, and the oldest lines make room for new ones."
    )

    request: str
