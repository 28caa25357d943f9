"""Which spans are exported: those of sampled traces, and the failed parts of others.

The first span of a trace decides whether it is sampled, and all processes know its decision. Whether
something went wrong is known at the end. So a process keeps the spans of its part of an unsampled trace, from
its first one to the end of that, and exports them if one of them ended in an error.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

from populace.telemetry.tracing.export_queue import ExportQueue

SPANS_MAX = 256
"""Spans that are kept of one part; a part has about 15, and further ones are not exported."""
PARTS_MAX = 4096
"""Parts that are kept at once; the oldest gives way. Each open request of an unsampled trace is one."""


@dataclass(slots=True)
class _Part:
    """One process's spans of an unsampled trace, below the first one of the process."""

    root: int
    ended: list[ReadableSpan] = field(default_factory=list[ReadableSpan])
    open: set[int] = field(default_factory=set[int])
    has_error: bool = False
    is_over: bool = False


class KeptParts(SpanProcessor):
    """Passes on the spans of sampled traces as they end, and the failed parts of others."""

    def __init__(self, queue: ExportQueue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._parts: OrderedDict[int, _Part] = OrderedDict()
        """The part of each span that is open, by the span's id."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        context = span.get_span_context()
        if context.trace_flags.sampled:
            return
        with self._lock:
            part = None if span.parent is None else self._parts.get(span.parent.span_id)
            if part is None:
                part = _Part(context.span_id)
                if len(self._parts) >= PARTS_MAX:
                    self._parts.popitem(last=False)
            part.open.add(context.span_id)
            self._parts[context.span_id] = part

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None:
            return
        if context.trace_flags.sampled:
            self._queue.put(span)
            return
        for kept in self._kept(context.span_id, span):
            self._queue.put(kept)

    def shutdown(self) -> None:
        """Do nothing: the queue is closed by who made it."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True

    def _kept(self, span_id: int, span: ReadableSpan) -> list[ReadableSpan]:
        """Take the end of a span into its part; return what is to be exported now."""
        with self._lock:
            part = self._parts.pop(span_id, None)
            if part is None:
                return []
            part.open.discard(span_id)
            part.has_error |= span.status.status_code is StatusCode.ERROR
            part.is_over |= span_id == part.root
            if len(part.ended) < SPANS_MAX:
                part.ended.append(span)
            if not part.is_over:
                return []
            kept, part.ended = part.ended, []
            return kept if part.has_error else []
