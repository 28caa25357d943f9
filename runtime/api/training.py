"""Training jobs."""

from dataclasses import asdict
from typing import Any, Literal

from populace.actors.training import JobProgress, JobState, TrainingJob
from populace.actors.training_options import OPTIONS, TrainingOptions
from populace.actors.turn import ModelId
from populace.api.objects import ApiObject, milliseconds, seconds

SECONDS_DIGITS = 3


class JobObject(ApiObject):
    """A training job; see ``TrainingJob``. ``options`` are the fields of ``TrainingOptions``."""

    id: str
    object: Literal["training.job"] = "training.job"
    model: str
    number: int
    state: JobState
    reason: str
    method: str
    created: int
    started: int | None
    ended: int | None
    log_range: tuple[int, int] | None
    parent: str | None
    step: int
    steps: int
    loss: float | None
    reward: float | None
    plan: str
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float], ...]
    revision: str | None
    options: dict[str, Any]
    request_id: str | None = None

    @classmethod
    def of(cls, job: TrainingJob, request_id: str | None = None) -> "JobObject":
        """Make the object; ``request_id`` is that of the job's log lines, if they can be looked up."""
        return cls(
            id=f"{job.model.name}/{job.number}",
            model=job.model.name,
            number=job.number,
            state=job.state,
            reason=job.reason,
            method=job.options.method,
            created=seconds(job.created_ms),
            started=None if job.started_ms is None else seconds(job.started_ms),
            ended=None if job.ended_ms is None else seconds(job.ended_ms),
            log_range=job.log_range,
            parent=job.parent,
            **job.progress._replace(seconds=round(job.progress.seconds, SECONDS_DIGITS))._asdict(),
            revision=job.candidate,
            options=asdict(job.options),
            request_id=request_id,
        )

    def value(self, tenant: str) -> TrainingJob:
        return TrainingJob(
            model=ModelId(tenant, self.model),
            number=self.number,
            options=TrainingOptions(
                **{name: value for name, value in self.options.items() if name in OPTIONS}
            ),
            state=self.state,
            reason=self.reason,
            created_ms=milliseconds(self.created),
            started_ms=None if self.started is None else milliseconds(self.started),
            ended_ms=None if self.ended is None else milliseconds(self.ended),
            log_range=self.log_range,
            parent=self.parent,
            progress=JobProgress(**{name: getattr(self, name) for name in JobProgress._fields}),
            candidate=self.revision,
        )
