"""Training jobs as callers and trainers see them, and what a host does with them.

A caller asks for a job, and a trainer in another process works on it: it starts the job, which fixes the end
of the log that it reads, and returns a candidate revision.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from populace.actors.display import brief, table
from populace.actors.hosts import ModelView, Revision
from populace.actors.reward_tasks import RewardTask
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.policies.consolidation import Standing
from populace.policies.evaluation_gate import Judged

JobState = Literal[
    "waiting", "running", "promoting", "promoted", "rejected", "skipped", "failed", "cancelled"
]
EndState = Literal["skipped", "failed", "cancelled"]


class JobProgress(NamedTuple):
    """The progress of a job. ``seconds`` and ``tokens`` are its share of the trainer's work.

    ``loss`` is that of the newest step, ``reward`` the mean of its round of replies, which only rl has.
    ``curve`` has the losses of steps by their numbers, or the rewards if there are any, thinned out if there
    are many. ``plan`` says from before the first step in words how much is learned, and what judges it.
    """

    step: int = 0
    steps: int = 0
    loss: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()
    reward: float | None = None
    plan: str = ""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training of a model. ``number`` counts the model's trainings from 0.

    ``log_range``, ``feedback_until_ms``, ``parent`` (None: the base) and ``started_ms`` are unknown before it
    starts. ``candidate`` is the digest of the resulting revision, promoted or not; ``reason`` says why not.
    ``note`` is what whoever asked for it has to know of it later, and is kept as it is.
    """

    model: ModelId
    number: int
    options: TrainingOptions
    state: JobState
    reason: str
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    log_range: tuple[int, int] | None = None
    feedback_until_ms: int | None = None
    parent: str | None = None
    progress: JobProgress = field(default_factory=JobProgress)
    candidate: str | None = None
    note: str = ""

    def __repr__(self) -> str:
        reason = f", {brief(self.reason)}" if self.reason else ""
        return f"<training {self.number} of {self.model.name}: {self.state}{self._steps}{reason}>"

    def _repr_html_(self) -> str:
        revision = None if self.candidate is None else self.candidate[:12]
        row = (self.model.name, self.number, self.state, self._steps.lstrip(", "), revision, self.reason)
        return table(("model", "training", "state", "progress", "revision", "why"), [row])

    @property
    def _steps(self) -> str:
        loss = "" if self.progress.loss is None else f", loss {self.progress.loss:.3f}"
        return f", step {self.progress.step} of {self.progress.steps}{loss}" if self.progress.steps else ""

    @property
    def is_open(self) -> bool:
        return self.state in ("waiting", "running", "promoting")


class OpenJob(NamedTuple):
    """A job that has not ended, with the key of the session file from which it is resumed."""

    job: TrainingJob
    session_key: bytes


class KeptTraining(NamedTuple):
    """The training of a promoted revision, given by its digest, and the key of its session's file."""

    model: ModelId
    revision: str
    key: bytes


class UnsettledFeedback(NamedTuple):
    """A model with feedback or turns that no policy has handled yet, and what policies need to know of it.

    ``serving`` is the revision that ``latest`` names if it was trained here, with the feedback on its replies
    and on its parent's. ``given`` counts all feedback on the model.
    """

    model: ModelId
    standing: Standing
    serving: str | None
    of_parent: Judged
    of_serving: Judged
    given: int


class ClientJobs(Protocol):
    """The jobs of the population. Methods of one model raise ``ModelNotFound``, and as those of ``Hosts``."""

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
    ) -> TrainingJob:
        """Ask for a training; a retry with the same ``key`` returns the job that the first call made.

        ``tasks`` are what rl learns from.

        Raises ``InvalidRequest``, ``OperationConflict``, ``TrainingUnderWay``, ``TrainingUnavailable``, and
        ``RevisionNotFound`` for an unknown revision to rebuild.
        """
        ...

    async def cancel(self, model: ModelId) -> TrainingJob:
        """Cancel the open job, or return it as it is if its candidate is being promoted.

        Raises ``JobNotFound``, and ``JobEnded``.
        """
        ...

    async def of_model(self, model: ModelId) -> tuple[TrainingJob, ...]:
        """The model's jobs, newest first."""
        ...

    async def roll_back(self, model: ModelId, revision: str) -> ModelView:
        """Move ``latest`` back from this revision to its parent, and the cursor with it.

        Nothing happens if ``latest`` names another one. A parent of None is the base. Raises
        ``RevisionNotFound``, also for a parent that the model does not have, and what
        ``Hosts.publish_revision`` raises.
        """
        ...


class TrainingJobs(ClientJobs, Protocol):
    """The same for gateways and trainers."""

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
        note: str = "",
    ) -> TrainingJob:
        """As a client's; ``note`` is that of the job."""
        ...

    async def cancel(self, model: ModelId, number: int | None = None) -> TrainingJob:
        """As a client's, or the job of this number; one that was cancelled before is returned as it is."""
        ...

    async def of_tenant(self, tenant: str, *, limit: int = 100) -> tuple[TrainingJob, ...]:
        """The jobs of all of a tenant's models, newest first. Reads all that are kept, on a thread."""
        ...

    async def open_jobs(self, *, whole: bool = False) -> tuple[OpenJob, ...]:
        """For a trainer: all jobs that have not ended, in the order in which they were asked for.

        Those of a shard that cannot be opened are left out; if it has to be the ``whole`` list, it raises.
        """
        ...

    async def kept(self) -> tuple[KeptTraining, ...]:
        """For a trainer: all trainings that are kept after their jobs, also those whose file is gone."""
        ...

    async def let_go(self, kept: KeptTraining) -> None:
        """For a trainer: note that the file of a kept training is gone. Nothing happens if it has another."""
        ...

    async def unsettled(self, *, limit: int = 256) -> tuple[UnsettledFeedback, ...]:
        """For a trainer: up to ``limit`` models a host with something unsettled and no open job, in turn."""
        ...

    async def settle(self, unsettled: UnsettledFeedback) -> None:
        """For a trainer: note that nothing follows from this. Later feedback and turns stay unsettled."""
        ...

    async def start(self, model: ModelId, number: int) -> TrainingJob:
        """For a trainer: fix what a waiting job learns from; a job that runs already is returned as it is.

        Raises ``JobNotFound`` and ``JobEnded``, as the other methods of one job do.
        """
        ...

    async def tasks(self, model: ModelId, number: int) -> tuple[RewardTask, ...]:
        """For a trainer: the tasks of an open rl job."""
        ...

    async def report(self, model: ModelId, number: int, progress: JobProgress) -> None:
        """For a trainer: record the progress of a job."""
        ...

    async def end(self, model: ModelId, number: int, state: EndState, reason: str) -> TrainingJob:
        """For a trainer: end a job without a candidate."""
        ...

    async def finish(
        self, model: ModelId, number: int, revision: Revision, progress: JobProgress
    ) -> TrainingJob:
        """For a trainer: record the candidate of a job, whose file must be in the store, and promote it.

        A revision with objections is recorded and rejected. Otherwise the cursor moves with the record, an
        engine prewarms it, and then ``latest`` moves. The call may be repeated, also by another trainer.
        Raises what ``Hosts.publish_revision`` raises; the job then stays open, and the old revision is
        served.
        """
        ...
