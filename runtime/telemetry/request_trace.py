"""Finds the spans of one request in the traces of all processes, for whoever sent it.

``populace trace`` reads everything, for the operator of the machine. This answers over the network, so the
search ends at limits, and it shows a tenant nothing of another one's. That a trace is a request's is not
enough for that: callers choose the trace that they join, and may join another's. So it goes down from the
request's own first span, which names its tenant, and goes past the first span of any other tenant's request.
"""

from collections.abc import Iterator

from populace.actors import span_names as names
from populace.actors.request_log import RequestSpan
from populace.telemetry.file_search import FileSearch
from populace.telemetry.trace_files import TraceSpan, attribute_text, spans_of_line, trace_text

COLLECTED_MAX = 20_000
"""Spans that are held for one search: a caller may have any number of its requests join one trace."""

ROOTS_MAX = 100
"""Requests of one id that are shown: each one's trace is a text to look for."""

SHOWN = frozenset(
    {
        names.HTTP_STATUS,
        names.REQUEST_MODEL,
        names.MAX_TOKENS,
        names.INPUT_TOKENS,
        names.OUTPUT_TOKENS,
        names.FINISH_REASONS,
        names.FIRST_SECONDS,
        names.HOST,
        names.STREAM,
        names.ADAPTER,
        names.REPLAYED,
        names.LOG_POSITION,
        names.MEMORY_BYTES,
        names.FINISHED,
        names.WORKER_METHOD,
    }
)
"""The attributes that leave the machine: what the caller sent, was answered, or can measure."""

SpanKey = tuple[str, str]


def trace_of_request(search: FileSearch, request_id: str, tenant: str) -> tuple[RequestSpan, ...]:
    """Find the spans of a tenant's requests of an id, by their beginnings; ``tenant`` is its keyed hash.

    If a limit ends the search, what it found until then is there.
    """
    roots: dict[SpanKey, TraceSpan] = {}
    named = attribute_text(names.REQUEST_ID, request_id)
    for span in _spans_with(search, [named]):
        if span.attributes.get(names.REQUEST_ID) == request_id and _is_of(span, tenant):
            roots[_key(span)] = span
        if len(roots) >= ROOTS_MAX:
            search.is_whole = False
            break
    if not roots:
        return ()
    collected = dict(roots)
    traces = {span.trace_id for span in roots.values()}
    for span in _spans_with(search, [trace_text(trace) for trace in sorted(traces)]):
        if span.trace_id in traces:
            collected[_key(span)] = span
        if len(collected) >= COLLECTED_MAX:
            search.is_whole = False
            break
    shown = sorted(_below(roots, collected, tenant), key=lambda span: (span.began_ns, -span.ended_ns))
    if len(shown) > search.limits.found_max:
        search.is_whole = False
    return _told(shown[: search.limits.found_max])


def _spans_with(search: FileSearch, texts: list[bytes]) -> Iterator[TraceSpan]:
    """Yield the spans of the lines that have one of the texts."""
    for lines in search.blocks(texts):
        for line in lines:
            yield from spans_of_line(line)


def _key(span: TraceSpan) -> SpanKey:
    return span.trace_id, span.span_id


def _is_of(span: TraceSpan, tenant: str) -> bool:
    return span.attributes.get(names.TENANT) == tenant


def _below(
    roots: dict[SpanKey, TraceSpan], collected: dict[SpanKey, TraceSpan], tenant: str
) -> list[TraceSpan]:
    """Return the roots and what is below them, but no other request's that is not the tenant's."""
    children: dict[SpanKey, list[TraceSpan]] = {}
    for span in collected.values():
        if names.REQUEST_ID not in span.attributes or _is_of(span, tenant):
            children.setdefault((span.trace_id, span.parent_id), []).append(span)
    found: dict[SpanKey, TraceSpan] = {}
    waiting = list(roots.values())
    while waiting:
        span = waiting.pop()
        if _key(span) not in found:
            found[_key(span)] = span
            waiting += children.get(_key(span), ())
    return list(found.values())


def _told(spans: list[TraceSpan]) -> tuple[RequestSpan, ...]:
    """Return what of the spans leaves the machine."""
    known = {span.span_id for span in spans}
    told: list[RequestSpan] = []
    for span in spans:
        process, _, number = span.process.rpartition("-")
        told.append(
            RequestSpan(
                id=span.span_id,
                parent=span.parent_id if span.parent_id in known else None,
                name=span.name,
                process=process,
                number=int(number),
                began_ms=round((span.began_ns - spans[0].began_ns) / 1e6, 3),
                ms=round((span.ended_ns - span.began_ns) / 1e6, 3),
                error=span.error,
                attributes={key: value for key, value in span.attributes.items() if key in SHOWN},
            )
        )
    return tuple(told)
