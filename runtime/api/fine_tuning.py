"""Fine-tuning jobs, their events and checkpoints, as OpenAI's clients read them.

They are views of a ``TrainingJob`` that learns from a file: nothing is stored for them but its ``note``.
"""

from collections.abc import Mapping
from typing import Any, Literal

from populace.actors.hosts import Revision
from populace.actors.training import JobState, TrainingJob
from populace.actors.training_options import OPTIONS, TrainingOptions
from populace.api.objects import ApiObject, Listing, seconds

FineTuningStatus = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
STATUS: Mapping[JobState, FineTuningStatus] = {
    "waiting": "queued",
    "running": "running",
    "promoting": "running",
    "promoted": "succeeded",
    "rejected": "failed",
    "skipped": "failed",
    "failed": "failed",
    "cancelled": "cancelled",
}
ERROR_CODES: Mapping[JobState, str] = {
    "rejected": "gate_refused",
    "skipped": "nothing_to_train",
    "failed": "training_failed",
}
TYPE_OF_METHOD = {"sft": "supervised", "preference": "dpo", "rl": "reinforcement"}
LEARNING_RATE: float = OPTIONS["learning_rate"].default


class FineTuningNote(ApiObject):
    """What a job was asked for and its training options do not say; it is the ``note`` of the job.

    ``made_by`` is the digest of the idempotency key of the request that made the model too.
    """

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    metadata: dict[str, str] | None = None
    grader: dict[str, str] | None = None
    made_by: str | None = None


class HyperparametersObject(ApiObject):
    """The numbers that the job has; ``auto`` became one when it was made."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    beta: float | None = None


class FineTuningError(ApiObject):
    """Why a job failed; ``message`` has the reasons in words."""

    code: str
    message: str
    param: str | None = None


class FineTuningJobObject(ApiObject):
    """A job. ``personal_model`` is the model that it trains; OpenAI's jobs do not have it."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    model: str
    personal_model: str
    fine_tuned_model: str | None
    organization_id: str
    status: FineTuningStatus
    error: FineTuningError | None
    training_file: str
    validation_file: str | None
    result_files: tuple[str, ...] = ()
    hyperparameters: HyperparametersObject
    method: dict[str, Any]
    seed: int
    trained_tokens: int | None
    estimated_finish: int | None = None
    integrations: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, str] | None
    user_provided_suffix: str | None

    @classmethod
    def of(cls, job: TrainingJob, note: FineTuningNote) -> "FineTuningJobObject":
        options, status = job.options, STATUS[job.state]
        numbers = HyperparametersObject(
            n_epochs=max(1, round(options.passes)),
            batch_size=options.batch,
            learning_rate_multiplier=options.learning_rate / LEARNING_RATE,
            beta=options.beta if options.method == "preference" else None,
        )
        kind = TYPE_OF_METHOD[options.method]
        method = {"hyperparameters": numbers.model_dump(exclude_none=True)}
        code = ERROR_CODES.get(job.state)
        return cls(
            id=job_id(job),
            created_at=seconds(job.created_ms),
            finished_at=None if job.ended_ms is None else seconds(job.ended_ms),
            model=note.model,
            personal_model=job.model.name,
            fine_tuned_model=model_of(job, job.candidate) if job.state == "promoted" else None,
            organization_id=job.model.tenant,
            status=status,
            error=None if code is None else FineTuningError(code=code, message=job.reason),
            training_file=note.training_file,
            validation_file=note.validation_file,
            hyperparameters=numbers,
            method={"type": kind, kind: method | ({} if note.grader is None else {"grader": note.grader})},
            seed=options.seed,
            trained_tokens=None if job.is_open else job.progress.tokens,
            metadata=note.metadata,
            user_provided_suffix=note.suffix,
        )


class FineTuningEventObject(ApiObject):
    """Something that happened to a job. ``data`` of a ``metrics`` event has the numbers of a step."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    type: Literal["message", "metrics"]
    message: str
    data: dict[str, Any] | None = None


class CheckpointMetrics(ApiObject):
    """Losses are in nats a token, those of the replies that judged the checkpoint."""

    step: int
    train_loss: float | None
    full_valid_loss: float | None
    valid_loss: float | None


class FineTuningCheckpointObject(ApiObject):
    """The revision that a job produced, promoted or not; it can be asked under its id."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: CheckpointMetrics
    step_number: int

    @classmethod
    def of(cls, job: TrainingJob, revision: Revision) -> "FineTuningCheckpointObject":
        scores = {} if revision.lineage is None else revision.lineage.scores
        loss = scores.get("held_out_loss")
        return cls(
            id=f"ftckpt-{job_id(job).removeprefix(JOB_PREFIX)}",
            created_at=seconds(revision.created_ms),
            fine_tuned_model_checkpoint=model_of(job, revision.digest),
            fine_tuning_job_id=job_id(job),
            metrics=CheckpointMetrics(
                step=job.progress.step, train_loss=job.progress.loss, full_valid_loss=loss, valid_loss=loss
            ),
            step_number=job.progress.step,
        )


class FineTuningJobPage(Listing[FineTuningJobObject]):
    """A part of the caller's jobs, newest first. The id of its last one is the ``after`` of the next part."""

    has_more: bool


class FineTuningEventPage(Listing[FineTuningEventObject]):
    """A part of a job's events, newest first."""

    has_more: bool


class FineTuningCheckpointPage(Listing[FineTuningCheckpointObject]):
    """A part of a job's checkpoints."""

    first_id: str | None
    last_id: str | None
    has_more: bool


JOB_PREFIX = "ftjob-"


def job_id(job: TrainingJob) -> str:
    return f"{JOB_PREFIX}{job.model.name}-{job.number}"


def model_of(job: TrainingJob, digest: str | None) -> str:
    """Return the id under which a revision of the job's model is asked."""
    return f"{job.model.name}@{digest}"


def note_of(job: TrainingJob) -> FineTuningNote | None:
    """Return the job's note; a training on the log has none and is no fine-tuning job."""
    if job.note:
        return FineTuningNote.model_validate_json(job.note)
    options: TrainingOptions = job.options
    if options.training_file is None:
        return None
    return FineTuningNote(
        model=job.model.name, training_file=options.training_file, validation_file=options.validation_file
    )
