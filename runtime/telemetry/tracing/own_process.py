"""Metrics of this process's tracing: spans taken and lost."""

from populace.actors.process_use import ProcessUse
from populace.settings.process import process_use
from populace.telemetry.tracing.spans import TRACER


def own_process_use() -> ProcessUse:
    """Measure this process, with the spans of its traces that could not be exported."""
    return process_use()._replace(spans_dropped=TRACER.dropped)
