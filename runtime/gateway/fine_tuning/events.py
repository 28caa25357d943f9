"""The events of a fine-tuning job, made anew from the job each time they are asked for.

Nothing is stored for them: a job's record has its times and, of a long training, the losses of some steps. So
the time of a step is an estimate, from the trainer's seconds per step. An event's id has its place in the
order, by which the next page begins where the last one ended, also if the job has gone on meanwhile.
"""

import re
from collections.abc import Iterator

from populace.actors.hosts import Revision
from populace.actors.training import TrainingJob
from populace.api.fine_tuning import ERROR_CODES, FineTuningEventObject, job_id, model_of
from populace.api.objects import seconds

CREATED, STARTED, JUDGED, ENDED = 0, 1, 2**40, 2**40 + 1
"""The places of events in the order; step n, from 0, is at n + 2."""

_ID = re.compile(r"ftevent-(\d{1,15})-.+")


def place_of(event_id: str) -> int | None:
    """Return the place of an event in the order of its job, None for what is no event's id."""
    match = _ID.fullmatch(event_id)
    return None if match is None else int(match[1])


def events_of(job: TrainingJob, revision: Revision | None) -> list[tuple[int, FineTuningEventObject]]:
    """Return the events with their places, newest first. ``revision`` is the job's candidate, if any."""
    return sorted(_events(job, revision), key=lambda event: -event[0])


def _events(job: TrainingJob, revision: Revision | None) -> Iterator[tuple[int, FineTuningEventObject]]:
    yield _event(job, CREATED, job.created_ms, f"Created fine-tuning job: {job_id(job)}")
    if job.started_ms is not None:
        yield _event(job, STARTED, job.started_ms, "Fine-tuning job started")
        yield from _steps(job, job.started_ms)
    if revision is not None and revision.lineage is not None and revision.lineage.scores:
        scores = revision.lineage.scores
        message = f"New fine-tuned model created: {model_of(job, revision.digest)}"
        data = {"step": job.progress.step, **scores}
        if "held_out_loss" in scores:
            data |= {"valid_loss": scores["held_out_loss"], "full_valid_loss": scores["held_out_loss"]}
        yield _event(job, JUDGED, revision.created_ms, message, data=data)
    if job.ended_ms is not None:
        yield _ended(job, job.ended_ms)


def _steps(job: TrainingJob, started_ms: int) -> Iterator[tuple[int, FineTuningEventObject]]:
    progress = job.progress
    name = "train_loss" if progress.reward is None else "train_reward"
    for step, value in progress.curve:
        at_ms = started_ms + round(1000 * progress.seconds * (step + 1) / max(1, progress.step))
        at_ms = at_ms if job.ended_ms is None else min(at_ms, job.ended_ms)
        told = f"Step {step + 1}/{progress.steps}: {name.replace('_', ' ')}={value:.4f}"
        data = {"step": step + 1, "total_steps": progress.steps, name: value}
        yield _event(job, step + 2, at_ms, told, data=data)


def _ended(job: TrainingJob, ended_ms: int) -> tuple[int, FineTuningEventObject]:
    if job.state == "promoted":
        return _event(job, ENDED, ended_ms, "The job has successfully completed")
    if job.state == "cancelled":
        return _event(job, ENDED, ended_ms, "The job was cancelled", level="warn")
    message = f"The job failed ({ERROR_CODES[job.state]}): {job.reason}"
    return _event(job, ENDED, ended_ms, message, level="error")


def _event(
    job: TrainingJob,
    place: int,
    at_ms: int,
    message: str,
    *,
    data: dict[str, float] | None = None,
    level: str = "info",
) -> tuple[int, FineTuningEventObject]:
    event = FineTuningEventObject.model_validate(
        {
            "id": f"ftevent-{place}-{job.model.name}-{job.number}",
            "created_at": seconds(at_ms),
            "level": level,
            "type": "message" if data is None else "metrics",
            "message": message,
            "data": data,
        }
    )
    return place, event
