"""Training jobs as callers and trainers see them, and what a host does with them.

A caller asks for a job, and a trainer in another process works on it: it starts the job, which fixes the end
of the log that it reads, and returns a candidate revision.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

from populace.actors.errors import InvalidRequest
from populace.actors.hosts import ModelView, Revision
from populace.actors.reward_tasks import RewardTask
from populace.actors.turn import ModelId
from populace.policies.consolidation import Standing
from populace.policies.evaluation_gate import Judged
from populace.policies.retrieval import RETRIEVED_MAX

LogMethod = Literal["sft", "preference", "thumbs"]
"""The methods that learn from replies in the log."""
LOG_METHODS: tuple[LogMethod, ...] = get_args(LogMethod)

Method = Literal["sft", "preference", "thumbs", "distillation", "rl"]
METHODS: tuple[Method, ...] = get_args(Method)

Start = Literal["uniform", "orthogonal-tail", "pissa", "olora"]
STARTS: tuple[Start, ...] = get_args(Start)

JobState = Literal[
    "waiting", "running", "promoting", "promoted", "rejected", "skipped", "failed", "cancelled"
]
EndState = Literal["skipped", "failed", "cancelled"]

STEPS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options of a training.

    ``rank``, ``alpha`` and ``targets`` (last parts of layers' names, ``"q_proj,v_proj"``) are by default
    those of the revision that the training continues from; without one 8, 8 and all linear layers. To change
    them, ``from_base`` has to begin a new adapter from the base. ``start`` is how a new adapter is
    initialised. ``steps`` None means the steps of ``epochs`` epochs. ``anchor`` weighs staying with the base
    on general text. ``unjudged`` treats replies without feedback as wanted, which is for a log whose replies
    are a person's own writing.

    ``distillation`` samples ``replies`` of ``reply_tokens`` each to the logged prompts, and learns to reply
    as the model would with the ``retrieve`` best fitting turns of its log in the prompt.
    ``rl`` learns from ``replies`` to each of the job's tasks, as the ``reward`` of this name
    judges them, and not from the log. ``replies`` None means 4 for distillation and 8 for rl.

    ``rebuilds`` is the digest of the served revision: it is trained again from the base and the data that
    it learned from, with its own options; all others are ignored. On another base the result is another
    revision.
    """

    method: Method = "sft"
    rank: int | None = None
    alpha: float | None = None
    targets: str | None = None
    start: Start = "uniform"
    from_base: bool = False
    epochs: float = 8.0
    steps: int | None = None
    learning_rate: float = 5e-4
    batch: int = 8
    seed: int = 0
    unjudged: bool = False
    anchor: float = 1.0
    replies: int | None = None
    reply_tokens: int = 48
    retrieve: int = 3
    reward: str | None = None
    rebuilds: str | None = None

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in (self.targets or "").split(","))

    @property
    def replies_each(self) -> int:
        return self.replies or (8 if self.method == "rl" else 4)

    def check(self) -> None:
        """Raise ``InvalidRequest`` for values that are out of range or contradict each other."""
        if self.method not in METHODS:
            raise InvalidRequest(f"There is no method {self.method!r} but {', '.join(METHODS)}.", "method")
        if self.start not in STARTS:
            raise InvalidRequest(f"There is no start {self.start!r} but {', '.join(STARTS)}.", "start")
        if self.unjudged and self.method != "sft":
            raise InvalidRequest("Only the method sft learns from replies without feedback.", "unjudged")
        if (self.method == "rl") != (self.reward is not None):
            raise InvalidRequest("A reward is what rl learns from, and no other method.", "reward")
        if self.targets is not None and not all(
            re.fullmatch(r"\w{1,64}", name) for name in self.target_names
        ):
            raise InvalidRequest(f"Targets are names with commas between, not {self.targets!r}.", "targets")
        limits = {
            "rank": (self.rank, 1, 512),
            "alpha": (self.alpha, 1e-6, 1e6),
            "steps": (self.steps, 1, STEPS_MAX),
            "epochs": (self.epochs, 1e-6, 10_000),
            "learning_rate": (self.learning_rate, 1e-9, 10),
            "batch": (self.batch, 1, 1024),
            "seed": (self.seed, 0, 2**63 - 1),
            "anchor": (self.anchor, 0, 1000),
            "replies": (self.replies, 1, 64),
            "reply_tokens": (self.reply_tokens, 1, 4096),
            "retrieve": (self.retrieve, 1, RETRIEVED_MAX),
        }
        for name, (value, least, most) in limits.items():
            if value is not None and not (math.isfinite(value) and least <= value <= most):
                raise InvalidRequest(f"{name} is from {least} to {most}, not {value}.", name)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training of a model. ``number`` counts the model's trainings from 0.

    ``log_range``, ``feedback_until_ms``, ``parent`` (None: the base) and ``started_ms`` are unknown before it
    starts.
    ``loss`` is that of the newest step, ``reward`` the mean of its round of replies, which only rl has.
    ``curve`` has the losses of steps by their numbers, or the rewards if there are any, thinned out if there
    are many. ``seconds`` and ``tokens`` are its share of the trainer's work.
    ``candidate`` is the digest of the resulting revision, promoted or not; ``reason`` says why not.
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
    step: int = 0
    steps: int = 0
    loss: float | None = None
    reward: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()
    candidate: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state in ("waiting", "running", "promoting")


class JobProgress(NamedTuple):
    """The progress of a job. ``reward`` and ``curve`` are as in ``TrainingJob``."""

    step: int
    steps: int
    loss: float | None
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()
    reward: float | None = None


class OpenJob(NamedTuple):
    """A job that has not ended, with the key of the session file from which it is resumed."""

    job: TrainingJob
    session_key: bytes


class UnsettledFeedback(NamedTuple):
    """A model with feedback that no policy has handled yet, and what the policies need to know of it.

    ``serving`` is the revision that ``latest`` names if it was trained here, with the feedback on its replies
    and on its parent's. ``given`` counts all feedback on the model.
    """

    model: ModelId
    standing: Standing
    serving: str | None
    of_parent: Judged
    of_serving: Judged
    given: int


class TrainingJobs(Protocol):
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
        """Cancel the model's open job. Raises ``JobNotFound`` if it has none.

        A job whose candidate is being promoted is not cancelled and is returned as it is.
        """
        ...

    async def of_model(self, model: ModelId) -> tuple[TrainingJob, ...]:
        """The model's jobs, newest first."""
        ...

    async def of_tenant(self, tenant: str, *, limit: int = 100) -> tuple[TrainingJob, ...]:
        """The jobs of all of a tenant's models, newest first. Reads all that are kept, on a thread."""
        ...

    async def open_jobs(self) -> tuple[OpenJob, ...]:
        """For a trainer: all jobs that have not ended, in the order in which they were asked for."""
        ...

    async def unsettled(self, *, limit: int = 256) -> tuple[UnsettledFeedback, ...]:
        """For a trainer: up to ``limit`` models a host with unsettled feedback and no open job, in turn."""
        ...

    async def settle(self, unsettled: UnsettledFeedback) -> None:
        """For a trainer: note that nothing follows from this feedback. Later feedback stays unsettled."""
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

    async def roll_back(self, model: ModelId, revision: str) -> ModelView:
        """Move ``latest`` back from this revision to its parent, and the cursor with it.

        Nothing happens if ``latest`` names another one. A parent of None is the base. Raises
        ``RevisionNotFound``, also for a parent that the model does not have, and what
        ``Hosts.publish_revision`` raises.
        """
        ...
