"""The API object of a request's logs and trace."""

from typing import Literal

from populace.actors.request_log import AttributeValue, LogLine, RequestLog, RequestSpan
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


class RequestSpanObject(ApiObject):
    """A span of the trace; see ``RequestSpan``."""

    id: str
    parent: str | None = None
    name: str
    process: str
    number: int
    began_ms: float
    ms: float
    error: str | None = None
    attributes: dict[str, AttributeValue]


class RequestLogObject(ApiObject):
    """The lines of the caller's requests of one id, and the spans of their traces; see ``RequestLog``."""

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
        trace=[
            {
                "id": "b7ad6b7169203331",
                "parent": None,
                "name": "POST /v1/chat/completions",
                "process": "gateway",
                "number": 0,
                "began_ms": 0.0,
                "ms": 250.125,
                "error": "503",
                "attributes": {"http.response.status_code": 503},
            }
        ],
    )

    object: Literal["request"] = "request"
    id: str
    lines: tuple[LogLineObject, ...]
    whole: bool
    trace: tuple[RequestSpanObject, ...] = ()

    @classmethod
    def of(cls, found: RequestLog) -> "RequestLogObject":
        return cls(
            id=found.request_id,
            lines=tuple(LogLineObject(**line._asdict()) for line in found.lines),
            whole=found.is_whole,
            trace=tuple(RequestSpanObject(**span._asdict()) for span in found.trace),
        )

    def value(self) -> RequestLog:
        return RequestLog(
            self.id,
            tuple(LogLine(**dict(line)) for line in self.lines),
            self.whole,
            tuple(RequestSpan(**dict(span)) for span in self.trace),
        )
