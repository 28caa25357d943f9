"""Records the stages of a reply in an engine as spans, once they are over."""

from typing import NamedTuple

from populace.actors import span_names as names
from populace.telemetry.tracing.spans import TRACER


class Stages(NamedTuple):
    """When a request came into the batch's queue, began, and had its first and its last token.

    The times are of ``time.monotonic``, which the processes of a machine share. 0: it did not get so far.
    """

    came_s: float
    began_s: float
    first_s: float
    last_s: float


def record_stages(stages: Stages) -> None:
    """Record the stages that were reached, below the current span."""
    came_s, began_s, first_s, last_s = stages
    for name, start_s, end_s in (
        (names.QUEUE, came_s, began_s),
        (names.PREFILL, began_s, first_s),
        (names.DECODE, first_s, last_s),
    ):
        if start_s and end_s:
            TRACER.record(name, start_s, end_s)
