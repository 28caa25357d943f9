"""Decides where a run begins: at its parent, in the middle of a kept training, or at a replay's start.

A training that continues another one is as if both were one: the first weights, the moments, the number of
the next step and the schedule of the learning rate are the kept training's, and what a method compares with
is the revision from which the first of the trainings began. A replay begins where the kept training began,
and takes the replies that this one had sampled.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from populace.actors.errors import TrainingFailed
from populace.actors.reward_tasks import pack_tasks, unpack_tasks
from populace.actors.training import TrainingJob
from populace.learning.on_policy.record import RolloutRecord
from populace.learning.session import StepOptions, TrainingSession
from populace.learning.session_file import attached_to, unpack_session
from populace.storage.records.errors import RecordInvalid
from populace.trainer.datasets import TrainingData

COMPARED = (
    "method",
    "learning_rate",
    "batch",
    "seed",
    "unjudged",
    "anchor",
    "replies",
    "reply_tokens",
    "retrieve",
    "reward",
    "beta",
    "on",
)
"""Options that both trainings must have alike; the shape is checked against the parent's adapter.

Files are compared by what they teach.
"""

GONE = (
    "is not kept: the budget of kept trainings, POPULACE_KEPT_TRAINING_BYTES_MAX, has dropped it, "
    "or it was not trained here"
)


@dataclass(frozen=True, slots=True)
class Start:
    """Where the run of a job begins. ``origin`` is a revision, None the base.

    ``step`` counts the steps that earlier trainings took, whose schedule ends at ``falls_until``. ``record``
    takes what is sampled, or has it. ``session`` is the one to continue, ``data_digest`` that of its data.
    """

    origin: str | None
    step: int = 0
    falls_until: int | None = None
    record: RolloutRecord = field(default_factory=RolloutRecord)
    session: TrainingSession | None = None
    data_digest: str | None = None

    def data(self, job: TrainingJob, data: TrainingData) -> TrainingData:
        """Return the job's data, with the tasks of a replay, and record the tasks of any other job."""
        if self.record.replays and self.record.tasks:
            return data._replace(tasks=unpack_tasks(self.record.tasks))
        if data.tasks:
            self.record.tasks = pack_tasks(data.tasks)
        return data

    def memory(self, data: TrainingData) -> bytes:
        """Return the memory that replies read while they are learned, and record it; empty for none."""
        if self.record.memory is None:
            use = data.memory if data.learns_with_memory else None
            self.record.memory = (use.state if use is not None else None) or b""
        return self.record.memory

    def check(self, job: TrainingJob, data_digest: str) -> None:
        """Raise ``TrainingFailed`` if the kept training learned from other data."""
        if self.data_digest not in (None, data_digest):
            raise TrainingFailed(job.model.name, f"{_training(job)} learned from other data")

    def stepping(self, job: TrainingJob, steps: int) -> StepOptions:
        """Return the options of a training of this number of further steps."""
        options = job.options
        return StepOptions(
            steps=self.step + steps,
            learning_rate=options.learning_rate,
            seed=options.seed,
            schedule_steps=self.falls_until or options.schedule_steps,
        )

    def continued(self, job: TrainingJob, name: str, stepping: StepOptions) -> TrainingSession | None:
        """Return the session that the job goes on with, None if it begins a new one.

        Raises ``TrainingFailed`` if the kept training is gone and the job's own session was lost.
        """
        if not job.options.continues:
            return None
        if self.session is None:
            raise TrainingFailed(job.model.name, f"{_training(job)} {GONE}")
        self.session.name, self.session.options = name, stepping
        return self.session

    def told(self, job: TrainingJob, served: "Served") -> dict[str, Any]:
        """Return what a session file says of the start, and of what a later training must have alike."""
        begins = [self.origin, self.step, self.falls_until]
        return {"start": begins, "options": _compared(job), "served": [served.base, served.memory_module]}


@dataclass(frozen=True, slots=True)
class Served:
    """The fingerprint of the base and the digest of the memory module on which a training depends."""

    base: str
    memory_module: str | None


def start_of(
    job: TrainingJob, saved: bytes | None, kept: bytes | None, served: Served, *, device: str = "cpu"
) -> Start:
    """Say where the run begins, on ``device``. ``saved`` is its session, ``kept`` that of ``kept_by(job)``.

    Raises ``TrainingFailed`` if the job continues or replays a training that is not kept, or is another one.
    """
    is_replay = job.options.rebuilds is not None and not job.options.from_base
    if not (is_replay or job.options.continues):
        origin = None if job.options.from_base else job.parent
        return Start(origin, record=_record(saved if saved is not None else kept))
    if job.options.continues and job.parent is None:
        raise TrainingFailed(job.model.name, "it has no revision yet whose training could be continued")
    own = _told(saved)
    if own is not None and job.options.continues and kept is None:
        # Its own session has everything from which it goes on.
        origin, step, falls_until = own["start"]
        return Start(origin, step, falls_until, _record(saved))
    try:
        if kept is None:
            raise TrainingFailed(job.model.name, f"{_training(job)} {GONE}")
        session, told = unpack_session(kept, device)
        record = RolloutRecord.unpack(attached_to(kept), replays=is_replay)
    except RecordInvalid as error:
        raise TrainingFailed(job.model.name, f"{_training(job)} is kept and damaged: {error}") from error
    if told["served"] != [served.base, served.memory_module]:
        raise TrainingFailed(job.model.name, f"{_training(job)} had another base or memory module")
    origin, digest = told["start"][0], told["data_digest"]
    if is_replay:
        return Start(origin, record=record, data_digest=digest)
    _check_alike(job, told["options"], session.options.falls_until)
    own_record = _record(saved) if own is not None else record
    return Start(origin, session.step, session.options.falls_until, own_record, session, digest)


def kept_by(job: TrainingJob) -> str | None:
    """Return the revision whose kept training the job takes something from, None if it takes nothing.

    A training that begins anew from the base takes only the replies to what was asked again, if they are
    kept.
    """
    if job.options.rebuilds is not None:
        is_new = job.options.from_base and not job.options.learns_until_said
        return None if is_new else job.options.rebuilds
    return job.parent if job.options.continues else None


def _check_alike(job: TrainingJob, before: Mapping[str, Any], falls_until: int) -> None:
    now = _compared(job) | {"schedule_steps": job.options.schedule_steps or falls_until}
    # Trainings of older releases know of no lower revision and had none.
    for name, value in {"on": None, **before, "schedule_steps": falls_until}.items():
        if now.get(name) != value:
            had, wanted = _said(value), _said(now.get(name))
            reason = f"{_training(job)} has {name} {had}, and is not continued with {wanted}"
            raise TrainingFailed(job.model.name, reason)


def _compared(job: TrainingJob) -> dict[str, Any]:
    options = asdict(replace(job.options, replies=job.options.replies_each or None))
    return {name: options[name] for name in COMPARED}


def _record(saved: bytes | None) -> RolloutRecord:
    """Return what was sampled until a session was saved, empty if it is of no use."""
    if saved is None or _told(saved) is None:
        return RolloutRecord()
    try:
        return RolloutRecord.unpack(attached_to(saved))
    except RecordInvalid:
        return RolloutRecord()


def _told(saved: bytes | None) -> dict[str, Any] | None:
    """Return what a saved session says, None if there is none to go on with."""
    if saved is None:
        return None
    try:
        told = unpack_session(saved)[1]
    except RecordInvalid:
        return None
    return told if "start" in told else None


def _training(job: TrainingJob) -> str:
    return f"the training of {(kept_by(job) or '')[:12]}"


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
