"""Exporters of spans: to a file of this process, to its standard error, or to a collector by OTLP."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from populace.telemetry.options import TraceOptions
from populace.telemetry.rotating_file import RotatingFile

_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_STATUS = {StatusCode.UNSET: 0, StatusCode.OK: 1, StatusCode.ERROR: 2}


def line_of(spans: Sequence[ReadableSpan]) -> bytes:
    """Write spans of one process as a line, an ``ExportTraceServiceRequest``; there must be one at least."""
    first = spans[0]
    scope = first.instrumentation_scope
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(first.resource.attributes)},
                "scopeSpans": [
                    {
                        "scope": {} if scope is None else {"name": scope.name, "version": scope.version},
                        "spans": [_span(span) for span in spans],
                    }
                ],
                "schemaUrl": "" if scope is None else scope.schema_url,
            }
        ]
    }
    return json.dumps(request, separators=(",", ":")).encode() + b"\n"


def _span(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    assert context is not None, "a span that has ended has ids"
    written: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "parentSpanId": "" if span.parent is None else f"{span.parent.span_id:016x}",
        "flags": int(context.trace_flags),
        "name": span.name,
        "kind": _KINDS[span.kind],
        # JSON's numbers are too small for them, so OTLP writes them as texts.
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "status": {"code": _STATUS[span.status.status_code]},
    }
    if span.links:
        written["links"] = [
            {"traceId": f"{link.context.trace_id:032x}", "spanId": f"{link.context.span_id:016x}"}
            for link in span.links
        ]
    return written


def _attributes(attributes: Mapping[str, AttributeValue]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: AttributeValue) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [_value(part) for part in value]}}
        case _:
            return {"stringValue": str(value)}


OTLP_PATH = "/v1/traces"
"""What the URL of a collector is completed with, as OTEL_EXPORTER_OTLP_ENDPOINT is."""


class FileExporter(SpanExporter):
    """Appends a line for each batch to a file that turns over, as a log does."""

    def __init__(self, path: Path) -> None:
        self._file = RotatingFile(path)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            self._file.append(line_of(spans))
        except OSError:
            self._file.close()
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()


class ConsoleExporter(SpanExporter):
    """Writes the same lines to the standard error of the moment."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sys.stderr.write(line_of(spans).decode())
        sys.stderr.flush()
        return SpanExportResult.SUCCESS


def exporter_of(options: TraceOptions, process: str, number: int) -> SpanExporter:
    """Make the exporter of a process, such as the one that writes ``host-0.jsonl``."""
    match options.kind:
        case "file":
            return FileExporter(Path(options.target) / f"{process}-{number}.jsonl")
        case "console":
            return ConsoleExporter()
        case "otlp":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            # It would warn of each try; the queue counts what is lost, and says so once a minute.
            logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
            endpoint = options.target.rstrip("/")
            if endpoint and not endpoint.endswith(OTLP_PATH):
                endpoint += OTLP_PATH
            return OTLPSpanExporter(endpoint=endpoint or None)
