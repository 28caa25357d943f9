"""What the log has of a request."""

from typing import Literal

from populace.actors.request_log import LogLine, RequestLog
from populace.api.objects import ApiObject, example

REQUEST_ID = r"^[A-Za-z0-9._:-]{1,128}$"
"""What a request's id may look like: others could break a line of the log, or fill it."""


class LogLineObject(ApiObject):
    """A line of one process's log; see ``LogLine``."""

    at: str
    level: str
    logger: str
    message: str
    process: str
    number: int
    error_code: str | None = None
    raised: str | None = None


class RequestLogObject(ApiObject):
    """The lines of the caller's requests of one id, by time; see ``RequestLog``."""

    model_config = example(
        object="request",
        id="req_6b1f0f6c1d9f4a0f8a52f1c3f7f2a9d4",
        lines=[
            {
                "at": "2026-11-29T16:00:00.250000Z",
                "level": "warning",
                "logger": "populace.gateway.app",
                "message": "a request was refused: The engine is not available: …",
                "process": "gateway",
                "number": 0,
                "error_code": "engine_unavailable",
                "raised": None,
            }
        ],
        whole=True,
    )

    object: Literal["request"] = "request"
    id: str
    lines: tuple[LogLineObject, ...]
    whole: bool

    @classmethod
    def of(cls, found: RequestLog) -> "RequestLogObject":
        return cls(
            id=found.request_id,
            lines=tuple(LogLineObject(**line._asdict()) for line in found.lines),
            whole=found.is_whole,
        )

    def value(self) -> RequestLog:
        return RequestLog(self.id, tuple(LogLine(**dict(line)) for line in self.lines), self.whole)
