"""Traces by OpenTelemetry's SDK. Import it late: it is loaded only where traces are on."""

import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as version_of
from typing import cast
from weakref import WeakSet

from opentelemetry.context import Context, set_value
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from populace.actors import span_names as names
from populace.storage.records.errors import PopulaceError
from populace.telemetry.options import TelemetryOptions, TraceOptions
from populace.telemetry.resource import process_resource
from populace.telemetry.traceparent import is_sampled, made_trace
from populace.telemetry.tracing.export_queue import ExportQueue
from populace.telemetry.tracing.kept_parts import BEGINS_A_PART, KeptParts
from populace.telemetry.tracing.spans import LINKS_MAX, Begun, Kind
from populace.telemetry.wording import Wording

ATTRIBUTES_MAX = 64
ATTRIBUTE_CHARACTERS_MAX = 256

_KINDS: Mapping[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
}


class SdkTraces:
    """``Traces`` of one process, which has a kind and a number."""

    def __init__(
        self, options: TelemetryOptions, process: str, number: int, share: float, exporter: SpanExporter
    ) -> None:
        self._wording = Wording(options.name_key, names_plain=options.names_plain)
        self.queue = ExportQueue(exporter)
        self._begun: WeakSet[_BegunSpan] = WeakSet()
        self._lock = threading.Lock()
        provider = TracerProvider(
            sampler=RecordingSampler(share),
            resource=process_resource(process, number),
            shutdown_on_exit=False,
            span_limits=SpanLimits(
                max_attributes=ATTRIBUTES_MAX,
                max_attribute_length=ATTRIBUTE_CHARACTERS_MAX,
                max_links=LINKS_MAX,
            ),
        )
        provider.add_span_processor(KeptParts(self.queue))
        self._tracer = provider.get_tracer(
            "populace", version_of("populace"), schema_url=names.SEMANTIC_CONVENTIONS
        )

    @property
    def is_on(self) -> bool:
        """Whether spans are made; the SDK's own switch, OTEL_SDK_DISABLED, turns all of it off."""
        return not isinstance(self._tracer, NoOpTracer)

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, object],
        *,
        parent: bytes | None,
        began_ns: int | None = None,
        is_root: bool = False,
    ) -> Begun:
        context = set_value(BEGINS_A_PART, True, Context()) if is_root else Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(_span_context(parent)), context)
        worded = {key: self._worded(value) for key, value in attributes.items()}
        span = self._tracer.start_span(
            name,
            context,
            kind=_KINDS[kind],
            attributes={key: value for key, value in worded.items() if value is not None},
            start_time=began_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        begun = _BegunSpan(span, self._worded)
        with self._lock:
            self._begun.add(begun)
        return begun

    @property
    def dropped(self) -> int:
        return self.queue.dropped

    def close(self) -> None:
        """End and export all spans, those that are still open as failed, within a time limit."""
        with self._lock:
            left = list(self._begun)
        for begun in left:
            begun.cut_off()
        self.queue.close()

    def _worded(self, value: object) -> AttributeValue | None:
        """Return what stands for a value: as in a log line, a hash for a name and nothing for words."""
        if isinstance(value, bool | int | float):
            return value
        if type(value) is tuple:  # a ModelId is one too, and is a name
            return [str(self._wording.argument(part)) for part in cast("tuple[object, ...]", value)]
        return None if value is None else str(self._wording.argument(value))


class _BegunSpan:
    """A span of the SDK."""

    def __init__(self, span: Span, worded: Callable[[object], AttributeValue | None]) -> None:
        self._span = span
        self._worded = worded
        context = span.get_span_context()
        self.trace = made_trace(
            context.trace_id.to_bytes(16, "big"),
            context.span_id.to_bytes(8, "big"),
            sampled=context.trace_flags.sampled,
        )

    def set(self, attribute: str, value: object) -> None:
        worded = self._worded(value)
        if worded is not None:
            self._span.set_attribute(attribute, worded)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def link(self, trace: bytes) -> None:
        self._span.add_link(_span_context(trace))

    def fail(self, error: BaseException | str) -> None:
        if isinstance(error, PopulaceError):
            error = error.code
        # Never its message, which may quote what was said.
        kind = error if isinstance(error, str) else type(error).__name__
        self._span.set_attribute(names.ERROR_TYPE, kind)
        self._span.set_status(StatusCode.ERROR)

    def end(self, ended_ns: int | None = None) -> None:
        self._span.end(ended_ns)

    def cut_off(self) -> None:
        """End it as failed if it is open: its process ends, and what it stands for does not go on."""
        if self._span.is_recording():
            self.fail(names.PROCESS_ENDED)
            self.end()


class RecordingSampler(Sampler):
    """Samples a share of the traces, and records all: that of an error is exported whatever was decided.

    A trace that a caller has begun is sampled if its flag says so.
    """

    def __init__(self, share: float) -> None:
        self._inner = ParentBased(TraceIdRatioBased(share))

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        found = self._inner.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        is_dropped = found.decision is Decision.DROP
        return SamplingResult(Decision.RECORD_ONLY if is_dropped else found.decision, attributes)

    def get_description(self) -> str:
        return f"Recording({self._inner.get_description()})"


def start_traces(options: TelemetryOptions, traces: TraceOptions, process: str, number: int) -> SdkTraces:
    """Begin to export the spans of this process, to where the options say."""
    from populace.telemetry.tracing.exporters import exporter_of

    return SdkTraces(options, process, number, traces.share, exporter_of(traces, process, number))


def _span_context(trace: bytes) -> SpanContext:
    return SpanContext(
        int.from_bytes(trace[1:17], "big"),
        int.from_bytes(trace[17:25], "big"),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if is_sampled(trace) else TraceFlags.DEFAULT),
    )
