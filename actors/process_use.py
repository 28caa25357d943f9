"""The processor time and the memory that a process takes."""

from typing import NamedTuple


class ProcessUse(NamedTuple):
    """The processor time that a process has used since it started, and the memory that it holds now.

    ``spans_dropped`` counts the spans of traces that it could not export.
    """

    cpu_seconds: float
    resident_bytes: int
    spans_dropped: int = 0
