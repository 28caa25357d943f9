"""Chooses the spans to export: those of sampled traces, and the failed parts of others.

The first span of a trace decides whether it is sampled, and all processes know its decision. Whether
something went wrong is known at the end. So a process keeps the spans of its part of an unsampled trace, from
its first one to the end of that, and exports them if one of them ended in an error.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from opentelemetry.context import Context, create_key, get_value
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

from populace.telemetry.tracing.export_queue import ExportQueue

BEGINS_A_PART = create_key("populace-begins-a-part")
"""In the context of a span that begins a part, whatever it is below."""

SPANS_MAX = 256
"""Spans that are kept of one part beside its first one, and as many that failed.

A part has about 15; further ones are not exported, and count as dropped if it is.
"""
PARTS_MAX = 4096
"""Parts that are kept at once. Each open request of an unsampled trace is one.

The oldest one gives way as a whole, and its spans count as dropped.
"""


@dataclass(slots=True)
class _Part:
    """One process's spans of an unsampled trace, below the first one of the process."""

    root: int
    open: set[int] = field(default_factory=set[int])
    """The ids of its spans that have begun and not ended."""
    ended: list[ReadableSpan] = field(default_factory=list[ReadableSpan])
    failed: list[ReadableSpan] = field(default_factory=list[ReadableSpan])
    left_out: int = 0
    has_error: bool = False
    is_over: bool = False


class KeptParts(SpanProcessor):
    """Passes on the spans of sampled traces as they end, and the failed parts of others."""

    def __init__(self, queue: ExportQueue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._parts: OrderedDict[int, _Part] = OrderedDict()
        """The parts that have open spans, by the id of their first span, the oldest part first."""
        self._part_of: dict[int, _Part] = {}
        """The part of each open span, by the span's id."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        context = span.get_span_context()
        if context.trace_flags.sampled:
            return
        with self._lock:
            # A request may name an open span of this process as its caller, and yet fails for itself.
            is_first = span.parent is None or bool(get_value(BEGINS_A_PART, parent_context))
            part = None if span.parent is None or is_first else self._part_of.get(span.parent.span_id)
            if part is None:
                if len(self._parts) >= PARTS_MAX:
                    self._drop_oldest()
                part = self._parts[context.span_id] = _Part(context.span_id)
            part.open.add(context.span_id)
            self._part_of[context.span_id] = part

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
            part = self._part_of.pop(span_id, None)
            if part is None:
                return []
            part.open.discard(span_id)
            if not part.open:
                del self._parts[part.root]
            is_failed = span.status.status_code is StatusCode.ERROR
            part.has_error |= is_failed
            part.is_over |= span_id == part.root
            spans = part.failed if is_failed else part.ended
            if len(spans) < SPANS_MAX or span_id == part.root:
                spans.append(span)
            else:
                part.left_out += 1
            if not part.is_over:
                return []
            kept = [*part.ended, *part.failed]
            left_out = part.left_out
            part.ended, part.failed, part.left_out = [], [], 0
            if not part.has_error:
                return []
            self._queue.count_dropped(left_out)
            return kept

    def _drop_oldest(self) -> None:
        """Forget the part that began first; what of it ends later is not exported."""
        _, part = self._parts.popitem(last=False)
        for span_id in part.open:
            del self._part_of[span_id]
        self._queue.count_dropped(len(part.open) + len(part.ended) + len(part.failed))
