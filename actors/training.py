"""Training jobs as callers and trainers see them, and what a host does with them.

A job is asked for by whoever wants a model to learn, and worked on by a trainer, which lives in another
process: it starts the job, reads the log up to where that fixed it, and brings back a candidate.
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
"""Learn from replies that are in the log."""
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
    """How a model is trained.

    ``rank``, ``alpha`` and ``targets`` (last parts of layers' names, ``"q_proj,v_proj"``) None are those of
    the revision that it goes on from; without one 8, 8 and all linear layers. ``from_base`` begins anew,
    which is the only way to others. ``start`` is how a new adapter begins. ``steps`` None is as many as
    ``epochs`` are. ``anchor`` is how much it counts to stay with the base on general text. ``unjudged`` takes
    replies that nobody judged for wanted, which is for a log whose replies are a person's own writing.

    ``distillation`` learns from ``replies`` of ``reply_tokens`` each that the model gives now to what it was
    asked, so that they become what they would be with the ``retrieve`` turns of its log that fit best.
    ``rl`` learns from ``replies`` to each of the tasks that come with the job, as the ``reward`` of this name
    judges them, and not from the log. ``replies`` None are 4 of the one and 8 of the other.

    ``rebuilds`` is the digest of the revision that answers: it is made again from the base and what it
    learned from, with its own options whatever the others say. On another base it is another revision.
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
        return tuple(one.strip() for one in (self.targets or "").split(","))

    @property
    def replies_each(self) -> int:
        return self.replies or (8 if self.method == "rl" else 4)

    def check(self) -> None:
        """Raise ``InvalidRequest`` for what nobody can mean."""
        if self.method not in METHODS:
            raise InvalidRequest(f"There is no method {self.method!r} but {', '.join(METHODS)}.", "method")
        if self.start not in STARTS:
            raise InvalidRequest(f"There is no start {self.start!r} but {', '.join(STARTS)}.", "start")
        if self.unjudged and self.method != "sft":
            raise InvalidRequest("Only sft learns from replies that nobody judged.", "unjudged")
        if (self.method == "rl") != (self.reward is not None):
            raise InvalidRequest("A reward is what rl learns from, and no other method.", "reward")
        if self.targets is not None and not all(re.fullmatch(r"\w{1,64}", one) for one in self.target_names):
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
    """One training of a model. ``number`` counts the model's trainings from 0.

    Of ``log_range``, ``feedback_until_ms``, ``parent`` (None: the base) and ``started_ms`` nothing is known
    before it starts.
    ``loss`` is the newest step's, ``reward`` the mean of its round of replies, which only rl has. ``curve``
    has the losses of steps by their numbers, or the rewards if there are, thinned out if there are many.
    ``seconds`` and ``tokens`` are its share of what the trainer did.
    ``candidate`` is the digest of the revision that came of it, promoted or not; ``reason`` says why not.
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
    """How far a job is. ``reward`` and ``curve`` are as in ``TrainingJob``."""

    step: int
    steps: int
    loss: float | None
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()
    reward: float | None = None


class OpenJob(NamedTuple):
    """A job with the key of the file in which its session lies while it is interrupted."""

    job: TrainingJob
    session_key: bytes


class UnsettledFeedback(NamedTuple):
    """A model whose feedback nobody looked at yet, and what a policy asks of it.

    ``serving`` is the revision that ``latest`` names if it was trained here, with what was thought of its
    replies and of its parent's. ``given`` counts all feedback on the model.
    """

    model: ModelId
    standing: Standing
    serving: str | None
    of_parent: Judged
    of_serving: Judged
    given: int


class TrainingJobs(Protocol):
    """The jobs of the population. Methods of a model raise ``ModelNotFound``, and as those of ``Hosts``."""

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
    ) -> TrainingJob:
        """Ask for a training; with the same ``key`` a retry is answered with the job that it made.

        ``tasks`` are what rl learns from.

        Raises ``InvalidRequest``, ``OperationConflict``, ``TrainingUnderWay``, ``TrainingUnavailable``, and
        ``RevisionNotFound`` for a revision to be made again.
        """
        ...

    async def cancel(self, model: ModelId) -> TrainingJob:
        """Cancel the model's open job. Raises ``JobNotFound`` if it has none.

        A job whose candidate is being promoted ends by itself and is answered as it is.
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
        """For a trainer: nothing follows from this feedback. What was said since stays unsettled."""
        ...

    async def start(self, model: ModelId, number: int) -> TrainingJob:
        """For a trainer: fix what a waiting job learns from; one that runs already is answered as it is.

        Raises ``JobNotFound`` and ``JobEnded``, as do all that follow.
        """
        ...

    async def tasks(self, model: ModelId, number: int) -> tuple[RewardTask, ...]:
        """For a trainer: what an open job of rl is rewarded for."""
        ...

    async def report(self, model: ModelId, number: int, progress: JobProgress) -> None:
        """For a trainer: say how far a job is."""
        ...

    async def end(self, model: ModelId, number: int, state: EndState, reason: str) -> TrainingJob:
        """For a trainer: end a job of which no candidate came."""
        ...

    async def finish(
        self, model: ModelId, number: int, revision: Revision, progress: JobProgress
    ) -> TrainingJob:
        """For a trainer: record what came of a job, whose file must be in the store, and promote it.

        A revision with objections is recorded and rejected. Otherwise the cursor moves with the record, an
        engine prewarms it, and then ``latest`` moves. May be called again, also by another trainer. Raises
        what ``Hosts.publish_revision`` raises; the job stays open then, and the old revision answers.
        """
        ...

    async def roll_back(self, model: ModelId, revision: str) -> ModelView:
        """Give ``latest`` back from this revision to its parent, and the cursor with it.

        Nothing happens if ``latest`` is elsewhere. A parent of None is the base. Raises ``RevisionNotFound``,
        also for a parent that the model does not have, and what ``Hosts.publish_revision`` raises.
        """
        ...
