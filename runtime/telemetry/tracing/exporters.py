"""Where spans go: to a file of this process, to its standard error, or to a collector by OTLP."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from populace.telemetry.options import TraceOptions
from populace.telemetry.rotating_file import RotatingFile
from populace.telemetry.tracing.span_lines import line_of

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
