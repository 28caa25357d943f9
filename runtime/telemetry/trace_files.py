"""Reads the traces that processes wrote to a folder, as lines of OTLP's JSON."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from populace.actors.request_log import AttributeValue
from populace.actors.span_names import ERROR_TYPE, NUMBER, PROCESS, REQUEST_ID

FILE_NAME = re.compile(r"[a-z]+-\d+\.jsonl(\.\d+)?")
ERROR_STATUS = 2


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """One span. ``process`` is where it was, such as ``host-0``, and the times are those of its clock.

    ``parent_id`` is empty for the first span of a trace, and may be one of the caller's, who is not here.
    ``error`` is the code, or the type, of the error that it ended in. ``links`` are the ids of other traces
    of which it made use.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    process: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, AttributeValue]
    links: tuple[str, ...] = ()
    error: str | None = None

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e9


def spans_of_request(folder: Path, request_id: str) -> tuple[TraceSpan, ...]:
    """Return all spans of the traces of a request, of all processes, by their beginnings.

    ``request_id`` is a response's ``X-Request-Id``, or a training job's ``job-…``. There are none if there is
    no such request, its trace was not sampled, or its files have turned over. Raises ``OSError`` for a folder
    that cannot be read.
    """
    traces = {
        span.trace_id
        for span in _spans(folder, (request_id,))
        if span.attributes.get(REQUEST_ID) == request_id
    }
    if not traces:
        return ()
    # A file that turns over meanwhile is read twice.
    found = {
        (span.trace_id, span.span_id): span
        for span in _spans(folder, tuple(traces))
        if span.trace_id in traces
    }
    return tuple(sorted(found.values(), key=lambda span: (span.began_ns, -span.ended_ns)))


def requests_in(folder: Path) -> Iterator[TraceSpan]:
    """Yield the first span of each request and of each training job, in no order; a file may come twice.

    Raises ``OSError`` for a folder that cannot be read.
    """
    for span in _spans(folder, (REQUEST_ID,)):
        if REQUEST_ID in span.attributes:
            yield span


def has_traces(folder: Path) -> bool:
    """Return whether any process has written traces there."""
    return any(True for _ in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    # Unlike glob, it tells a folder that may not be read from an empty one.
    with suppress(FileNotFoundError):
        yield from [path for path in sorted(folder.iterdir()) if FILE_NAME.fullmatch(path.name)]


def _spans(folder: Path, texts: tuple[str, ...]) -> Iterator[TraceSpan]:
    """Yield the spans of the lines that have one of the texts; others are not parsed."""
    # As JSON writes them, without the quotation marks.
    wanted = [json.dumps(text)[1:-1].encode() for text in texts]
    for path in _files(folder):
        # It may have turned over since it was listed.
        with suppress(FileNotFoundError), path.open("rb") as file:
            for line in file:
                if any(text in line for text in wanted):
                    yield from spans_of_line(line)


def attribute_text(key: str, value: str) -> bytes:
    """Return an attribute of a text as the files have it, to look for the lines that have it."""
    return _compact({"key": key, "value": {"stringValue": value}})


def trace_text(trace_id: str) -> bytes:
    """Return what the files have of each span of a trace, and of each link to one."""
    return _compact({"traceId": trace_id})[1:-1]


def _compact(written: Mapping[str, object]) -> bytes:
    """Write as ``tracing/exporters.py`` does, without which nothing is found."""
    return json.dumps(written, separators=(",", ":")).encode()


def spans_of_line(line: bytes) -> Iterator[TraceSpan]:
    """Yield the spans of a line; none of one that a full disk or a kill tore."""
    try:
        written = json.loads(line)
        yield from [
            _span(span, process)
            for resource in written["resourceSpans"]
            for process in [_process(_attributes(resource["resource"]["attributes"]))]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
    except (ValueError, KeyError, TypeError):
        return


def _span(span: dict[str, Any], process: str) -> TraceSpan:
    attributes = _attributes(span["attributes"])
    failed = span["status"].get("code") == ERROR_STATUS
    return TraceSpan(
        span["traceId"],
        span["spanId"],
        span["parentSpanId"],
        span["name"],
        process,
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        attributes,
        tuple(link["traceId"] for link in span.get("links", ())),
        str(attributes.get(ERROR_TYPE, "error")) if failed else None,
    )


def _process(resource: Mapping[str, AttributeValue]) -> str:
    return f"{resource.get(PROCESS, 'process')}-{resource.get(NUMBER, 0)}"


def _attributes(rows: list[dict[str, Any]]) -> dict[str, AttributeValue]:
    return {row["key"]: _value(row["value"]) for row in rows}


_READ: Mapping[str, Callable[[Any], AttributeValue]] = {
    "stringValue": str,
    "boolValue": bool,
    "intValue": int,
    "doubleValue": float,
    "arrayValue": lambda value: tuple(str(_value(part)) for part in cast("dict[str, Any]", value)["values"]),
}


def _value(written: dict[str, Any]) -> AttributeValue:
    [(kind, value)] = written.items()
    return _READ[kind](value)
