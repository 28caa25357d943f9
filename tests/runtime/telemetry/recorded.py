"""The real traces of a process, with an exporter that keeps what it gets."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from populace.telemetry.tracing.provider import SdkTraces
from populace.telemetry.tracing.setup import tracing_setup
from tests.runtime.telemetry.written import options

Spans = Callable[[], tuple[ReadableSpan, ...]]


@contextmanager
def recording(*, share: float = 1.0, **changes: Any) -> Generator[Spans]:
    """Record the spans of this process during the block; what it yields ends that and returns them."""
    exporter = InMemorySpanExporter()
    traces = SdkTraces(options(Path("/nowhere"), **changes), "gateway", 0, share, exporter)
    end = tracing_setup(traces)

    def ended() -> tuple[ReadableSpan, ...]:
        end()
        return exporter.get_finished_spans()

    try:
        yield ended
    finally:
        end()


def dead_collector() -> str:
    """Return the address of a collector at whose port nothing listens."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def tree(spans: Sequence[ReadableSpan]) -> list[str]:
    """Draw the spans by their beginnings, each indented below its parent."""
    known = {id_of(span) for span in spans}

    def below(parent: int | None, depth: int) -> list[str]:
        rows: list[str] = []
        for span in sorted(spans, key=lambda span: span.start_time or 0):
            above = None if span.parent is None or span.parent.span_id not in known else span.parent.span_id
            if above == parent:
                rows += ["  " * depth + span.name, *below(id_of(span), depth + 1)]
        return rows

    return below(None, 0)


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
