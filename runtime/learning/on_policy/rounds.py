"""The on-policy curriculum: in each round the model samples replies and is trained on their judgement.

A round samples with the current adapter and is split into parts, one for each step. Sampling happens once in
``RoundOptions.steps`` steps. The other sessions of a shared step wait for it, as one round fills an engine.

The prompts and seeds of a round are functions of the session's seed and the step at which the round begins. A
session that is saved between two rounds continues to the same bits if the sampler gives the same replies. One
that is saved within a round begins a new round. A record of the rounds replays them without a sampler.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from populace.actors.engine import Message
from populace.actors.errors import NothingToTrain
from populace.learning.curricula import epoch_places
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Loss, Objective, Scored, TrainSequence
from populace.learning.on_policy.record import Group, RolloutRecord, Round
from populace.learning.on_policy.sampler import Sampler, usable_rollouts
from populace.learning.session import TrainingSession
from populace.storage.packed.adapter import PackedAdapter

T = TypeVar("T")

TRIES = 4
"""A round draws prompts at most this often until there are replies that the method can learn from."""


@dataclass(frozen=True, slots=True)
class RoundOptions:
    """Each prompt gets ``replies`` replies of at most ``tokens_max`` tokens; a round has ``steps`` steps."""

    replies: int = 8
    tokens_max: int = 64
    steps: int = 1


class Lessons(NamedTuple):
    """The objectives of a round's steps, and ``metrics`` that each of these steps reports.

    An objective is made when its step comes, as it may hold log-probabilities over the whole vocabulary.
    ``groups`` are those that it was made from with their rewards, if it gave any.
    """

    steps: Sequence[Callable[[], Objective]]
    metrics: Mapping[str, float]
    groups: Sequence[Group] = ()


class OnPolicyMethod(Protocol):
    """A method that judges sampled replies and makes objectives of them."""

    @property
    def prompts(self) -> Sequence[tuple[Message, ...]]:
        """The prompts exactly as the model in training reads them, without the context of a teacher."""
        ...

    def lessons(self, session: TrainingSession, groups: Sequence[Group], steps: int) -> Lessons:
        """Judge the groups, and split those that can be learned from into at most ``steps`` objectives.

        A rollout that has its reward already keeps it. There is no step if no group can be learned from. May
        raise ``TrainingFailed``.
        """
        ...


@dataclass(frozen=True, slots=True)
class _RoundObjective:
    """An objective that reports the metrics of its round as well."""

    objective: Objective
    metrics: Mapping[str, float]

    @property
    def sequences(self) -> Sequence[TrainSequence]:
        return self.objective.sequences

    def loss(self, scored: Scored) -> Loss:
        loss = self.objective.loss(scored)
        return Loss(loss.value, {**self.metrics, **loss.metrics})


class RolloutCurriculum:
    """The ``Curriculum`` of one on-policy session. The batch size is the number of prompts in a round.

    Each step reports the metric ``masked``: the number of rollouts of the round that were dropped because
    they were of another revision than the one that was sent.
    """

    def __init__(
        self,
        method: OnPolicyMethod,
        sampler: Sampler,
        base: FrozenBase,
        options: RoundOptions,
        record: RolloutRecord | None = None,
    ) -> None:
        """Make a curriculum that adds its rounds to ``record``, or takes them from it if that replays."""
        self._record = record or RolloutRecord()
        self._method = method
        self._sampler = sampler
        self._base = base
        self._options = options
        self._began = 0
        self._steps: Sequence[Callable[[], Objective]] = ()

    @property
    def size(self) -> int:
        return len(self._method.prompts)

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        """Return the next part of the round, or sample a new round first; that blocks.

        Raises ``NothingToTrain`` if ``TRIES`` rounds gave nothing to learn from, ``RolloutsStale`` if no
        rollout is of the revision that was sent, ``TrainingFailed`` if the engine could not sample, and what
        the method raises.
        """
        at = session.step - self._began
        if not 0 <= at < len(self._steps) or self._record.begins(session.step):
            at, self._began, self._steps = 0, session.step, self._round(session, batch)
        return self._steps[at]()

    def _round(self, session: TrainingSession, batch: int) -> list[Callable[[], Objective]]:
        packed = session.adapter.pack(self._base.fingerprint, self._base.dtype)
        revision = PackedAdapter(memoryview(packed)).digest
        if self._record.replays:
            kept = self._record.round(session.name, session.step, revision)
            return _steps(self._method.lessons(session, kept.groups, self._options.steps), kept.masked)
        for attempt in range(TRIES):
            groups, masked = self._sample(session, batch, packed, attempt)
            lessons = self._method.lessons(session, groups, self._options.steps)
            if lessons.steps:
                self._record.add(session.step, Round(revision, masked, lessons.groups or groups))
                return _steps(lessons, masked)
        self._record.add(session.step, Round(revision, 0, ()))
        raise NothingToTrain(
            session.name,
            f"in {TRIES} rounds of {batch} prompts no reply was better than another to the same prompt",
        )

    def _sample(
        self, session: TrainingSession, batch: int, packed: bytearray, attempt: int
    ) -> tuple[list[Group], int]:
        """Sample a round; return the usable groups, and the number of rollouts of other revisions."""
        seed = f"{session.options.seed} {attempt}"
        # A round with fewer steps than planned leaves this number unchanged: its prompts are drawn again.
        number = session.step // self._options.steps
        places = epoch_places(f"round {seed}", number, self.size, batch)
        draws = random.Random(f"rollouts {seed} {session.step}")  # noqa: S311 - not a secret
        usable = usable_rollouts(
            self._sampler,
            session.name,
            packed,
            [self._method.prompts[at] for at in places],
            replies=self._options.replies,
            tokens_max=self._options.tokens_max,
            seed=draws.randrange(2**31),
        )
        groups = [
            Group(at, replies.rollouts)
            for at, replies in zip(places, usable, strict=True)
            if replies.rollouts
        ]
        return groups, sum(replies.masked for replies in usable)


def parts_of(groups: Sequence[T], steps: int) -> list[Sequence[T]]:
    """Distribute whole groups over at most ``steps`` parts, none of which is empty."""
    return [groups[first::steps] for first in range(min(steps, len(groups)))]


def _steps(lessons: Lessons, masked: int) -> list[Callable[[], Objective]]:
    metrics = {**lessons.metrics, "masked": float(masked)}
    return [_with_metrics(make, metrics) for make in lessons.steps]


def _with_metrics(make: Callable[[], Objective], metrics: Mapping[str, float]) -> Callable[[], Objective]:
    return lambda: _RoundObjective(make(), metrics)
