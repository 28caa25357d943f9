"""Training jobs as callers see them, made of their rows."""

import json
from typing import Any

from populace.actors.training import JobProgress, TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.storage.records.records import JobRecord


def newest_first(found: list[TrainingJob]) -> tuple[TrainingJob, ...]:
    return tuple(sorted(found, key=lambda job: (-job.created_ms, job.model, -job.number)))


def job_view(model: ModelId, record: JobRecord) -> TrainingJob:
    """Return a job as callers see it: without its keys, and its progress, which the row has flat, as one."""
    row: dict[str, Any] = dict(record)
    for name in ("operation", "body_hash", "session_key"):
        del row[name]
    options = TrainingOptions(**json.loads(row.pop("options")))
    progress = JobProgress(**{name: row.pop(name) for name in JobProgress._fields})
    return TrainingJob(model=model, options=options, progress=progress, **row)
