"""The traces of training jobs: a span from a job's first work here to its end, over all rounds.

Its links are the traces of the turns that it learned from, as far as these were sampled: the operation id of
a turn whose caller gave no key has its trace in it, see ``actors/turn.py``.
"""

from collections.abc import Collection, Sequence
from itertools import islice

from populace.actors import span_names as names
from populace.actors.errors import TrainingFailed
from populace.actors.training import TrainingJob
from populace.actors.turn import Interaction, ModelId, trace_of_operation
from populace.learning.trainer import Candidate
from populace.telemetry.calls import current_caller
from populace.telemetry.traceparent import trace_of
from populace.telemetry.tracing.spans import LINKS_MAX, TRACER, AnySpan

JobKey = tuple[ModelId, int]

GONE = "gone"
"""The state of a job that ended elsewhere: it was cancelled, or its model erased."""

INTERRUPTED = "interrupted"
"""The state of a job that is open and goes on in another trace: this trainer works on it no more."""


class JobTraces:
    """The spans of the open jobs. Another trainer that goes on with a job begins another trace of it."""

    def __init__(self) -> None:
        self._open: dict[JobKey, AnySpan] = {}

    def of(self, job: TrainingJob) -> AnySpan:
        """Return the span of a job, begun for the current request if there is none."""
        key = (job.model, job.number)
        if key not in self._open:
            self._open[key] = TRACER.root(
                names.TRAIN,
                {
                    names.TENANT: current_caller().tenant,
                    names.MODEL: job.model,
                    names.JOB: job.number,
                    names.METHOD: job.options.method,
                },
            )
        return self._open[key]

    def note_turns(self, job: TrainingJob, turns: Sequence[Interaction]) -> None:
        """Link the turns that the job learns from, the newest first."""
        span = self.of(job)
        span.set(names.TURNS, len(turns))
        headers = (trace_of_operation(turn.operation) for turn in reversed(turns))
        traces = (trace for header in headers if header and (trace := trace_of(header)) is not None)
        for trace in islice(traces, LINKS_MAX):
            span.link(trace)

    def end(self, model: ModelId, number: int, state: str, error: Exception | None = None) -> None:
        span = self._open.pop((model, number), None)
        if span is None:
            return
        span.set(names.JOB_STATE, state)
        if error is not None:
            span.fail(error)
        span.end()

    def end_others(self, still: Collection[JobKey]) -> None:
        """End the spans of the jobs that are open no more."""
        for model, number in [key for key in self._open if key not in still]:
            self.end(model, number, GONE)

    def gone(self, model: ModelId, number: int) -> None:
        """End the span of a job that turned out to have ended elsewhere."""
        self.end(model, number, GONE)

    def close(self) -> None:
        """End all spans; the jobs are still open. May be called from another thread, and twice."""
        for model, number in list(self._open):
            self.end(model, number, INTERRUPTED)


def phase_of_job() -> dict[str, object]:
    """Return the attributes of each phase: the job and its tenant, to find it by before the job ends."""
    caller = current_caller()
    return {names.REQUEST_ID: caller.request_id, names.TENANT: caller.tenant}


def record_training(began_s: float, stepped_s: float, outcome: Candidate | TrainingFailed) -> None:
    """Record the steps of a job, up to its last one, and the gate's judgement; both are over."""
    phase = phase_of_job()
    if not isinstance(outcome, Candidate):
        TRACER.record(names.TRAIN_STEPS, began_s, stepped_s, phase)
        return
    did = {names.STEPS: len(outcome.losses), names.TOKENS: outcome.tokens}
    TRACER.record(names.TRAIN_STEPS, began_s, stepped_s, phase | did)
    judged = {names.PROMOTES: outcome.verdict.promotes}
    TRACER.record(names.TRAIN_GATE, *outcome.judged_s, phase | judged)
