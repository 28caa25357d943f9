"""A curriculum of the model's own replies: it answers, that is judged, and it takes a few steps on it.

A round samples from the adapter as it is and is then learned from in parts, one a step. So a session samples
once in so many steps, and while it does the others of a shared step wait: one person's round fills an engine.

What a round asks and draws is a function of the session's seed and the step at which it begins. A session
that is kept between two rounds goes on to the same bits if the sampler does; one that is kept inside of a
round begins a new one.
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
from populace.learning.on_policy.sampler import Sampler, usable_rollouts
from populace.learning.rollouts import Rollout
from populace.learning.session import TrainingSession

T = TypeVar("T")

TRIES = 4
"""Prompts are drawn so often until the replies to one of them teach something."""


@dataclass(frozen=True, slots=True)
class RoundOptions:
    """``replies`` to each prompt, of ``tokens_max`` each; a round is learned from in ``steps`` parts."""

    replies: int = 8
    tokens_max: int = 64
    steps: int = 1


class Group(NamedTuple):
    """Replies to one prompt, which is number ``at`` of those that the method has."""

    at: int
    rollouts: list[Rollout]


class Lessons(NamedTuple):
    """What a round came to: its steps' objectives, and what is told of it with each.

    Each is made when its turn comes: it may hold logarithms over the whole vocabulary.
    """

    steps: Sequence[Callable[[], Objective]]
    told: Mapping[str, float]


class OnPolicyMethod(Protocol):
    """Makes objectives of replies."""

    @property
    def prompts(self) -> Sequence[tuple[Message, ...]]:
        """What the model that learns is asked, and nothing else that it reads."""
        ...

    def lessons(self, session: TrainingSession, groups: Sequence[Group], steps: int) -> Lessons:
        """Judge the groups and cut what teaches something into at most so many steps; none if nothing does.

        Raises ``TrainingFailed``.
        """
        ...


@dataclass(frozen=True, slots=True)
class _OfRound:
    """An objective with what is told of its round."""

    objective: Objective
    told: Mapping[str, float]

    @property
    def sequences(self) -> Sequence[TrainSequence]:
        return self.objective.sequences

    def loss(self, scored: Scored) -> Loss:
        loss = self.objective.loss(scored)
        return Loss(loss.value, {**self.told, **loss.metrics})


class RolloutCurriculum:
    """A ``Curriculum`` of one session: a batch is so many prompts of a round.

    What it tells with each step: ``masked`` is how many rollouts were of another revision than the one that
    was sent, and not learned from.
    """

    def __init__(
        self, method: OnPolicyMethod, sampler: Sampler, base: FrozenBase, options: RoundOptions
    ) -> None:
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
        """Take the round's next part, or sample a new round first. Blocks while it samples.

        Raises ``NothingToTrain`` if no reply teaches anything, ``RolloutsStale`` if none is of the revision
        that was sent, what the method raises, and ``TrainingFailed`` if the engine could not sample.
        """
        at = session.step - self._began
        if not 0 <= at < len(self._steps):
            at, self._began, self._steps = 0, session.step, self._round(session, batch)
        return self._steps[at]()

    def _round(self, session: TrainingSession, batch: int) -> list[Callable[[], Objective]]:
        packed = session.adapter.pack(self._base.fingerprint, self._base.dtype)
        for again in range(TRIES):
            groups, masked = self._sample(session, batch, packed, again)
            lessons = self._method.lessons(session, groups, self._options.steps)
            if lessons.steps:
                told = {**lessons.told, "masked": float(masked)}
                return [_telling(make, told) for make in lessons.steps]
        raise NothingToTrain(
            session.name, f"in {TRIES} rounds of {batch} prompts no reply was better than another to the same"
        )

    def _sample(
        self, session: TrainingSession, batch: int, packed: bytearray, again: int
    ) -> tuple[list[Group], int]:
        """Sample a round, without the rollouts of other revisions; how many those were."""
        seed = f"{session.options.seed} {again}"
        # After a round that came to fewer steps its prompts are asked again, with other draws.
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
        groups = [Group(at, one.rollouts) for at, one in zip(places, usable, strict=True) if one.rollouts]
        return groups, sum(one.masked for one in usable)


def parts_of(groups: Sequence[T], steps: int) -> list[Sequence[T]]:
    """Deal whole groups into at most so many parts, none of them empty."""
    return [groups[first::steps] for first in range(min(steps, len(groups)))]


def _telling(make: Callable[[], Objective], told: Mapping[str, float]) -> Callable[[], Objective]:
    return lambda: _OfRound(make(), told)
