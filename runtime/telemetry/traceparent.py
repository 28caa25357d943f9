"""A span's ids on the wire: W3C's ``traceparent`` header, and the 26 bytes of it that ``Caller`` carries.

The bytes are a version 0, 16 of the trace's id, 8 of the span's, and the flags. The header's other half,
``tracestate``, is for the vendors of tracing systems, and is not passed on.
"""

import re

SAMPLED = 1
"""The flag of a trace that is exported."""

_PATTERN = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<ids>[0-9a-f]{32}-[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)


def trace_of(header: str) -> bytes | None:
    """Read a ``traceparent``; None for one that the specification tells to ignore."""
    found = _PATTERN.fullmatch(header.strip())
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    trace_id, span_id = (bytes.fromhex(text) for text in found["ids"].split("-"))
    if not any(trace_id) or not any(span_id):
        return None
    return made_trace(trace_id, span_id, sampled=bool(int(found["flags"], 16) & SAMPLED))


def made_trace(trace_id: bytes, span_id: bytes, *, sampled: bool) -> bytes:
    return b"\x00" + trace_id + span_id + bytes([SAMPLED if sampled else 0])


def header_of(trace: bytes) -> str:
    """Write a span as a ``traceparent``."""
    return f"00-{trace[1:17].hex()}-{trace[17:25].hex()}-{trace[25]:02x}"


def is_sampled(trace: bytes) -> bool:
    return bool(trace[25] & SAMPLED)
