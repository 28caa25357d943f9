"""Curricula: the encoded examples of one personal model, from which each training step draws its batch.

There is one class for each method that learns from the log. Which examples a step draws is a function of the
session's seed and step number, so that a restored session draws the same ones.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from populace.actors.errors import NothingToTrain
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import reply_log_probs
from populace.learning.examples import Example
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Objective, TrainSequence
from populace.learning.methods.preference import PreferenceObjective, ThumbsObjective
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import TrainingSession
from populace.policies.lessons import preferred_pair, wanted_reply


class Curriculum(Protocol):
    """Draws the batches of one training session."""

    @property
    def size(self) -> int:
        """The number of examples or prompts in one epoch."""
        ...

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        """Draw ``batch`` examples for the session's next step, or all if there are fewer."""
        ...


@dataclass(frozen=True, slots=True)
class SupervisedCurriculum:
    """Replies to imitate, with the cross-entropy loss of ``sft``."""

    sequences: Sequence[TrainSequence]

    @property
    def size(self) -> int:
        return len(self.sequences)

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        return SupervisedObjective([self.sequences[at] for at in batch_places(session, self.size, batch)])


@dataclass(frozen=True, slots=True)
class PreferenceCurriculum:
    """Pairs of a preferred and a rejected reply, in turn: even places are preferred, odd ones rejected.

    ``reference`` holds the parent's log-likelihood of each reply, in nats, in the order of ``sequences``;
    ``beta`` is that of the objective.
    """

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]
    beta: float = 0.1

    @property
    def size(self) -> int:
        return len(self.sequences) // 2

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        places = [2 * at + side for at in batch_places(session, self.size, batch) for side in (0, 1)]
        return PreferenceObjective(
            [self.sequences[place] for place in places],
            [self.reference[place] for place in places],
            self.beta,
        )


@dataclass(frozen=True, slots=True)
class ThumbsCurriculum:
    """Replies with a thumbs-up or thumbs-down, and mismatched pairs for the KL estimate of KTO.

    A mismatched pair is a reply after the prompt of the previous example; ``mismatched`` is empty or has one
    for each reply. The references are the parent's log-likelihoods of the replies, in nats.
    """

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]
    up: Sequence[bool]
    mismatched: Sequence[TrainSequence]
    mismatched_reference: Sequence[float]

    @property
    def size(self) -> int:
        return len(self.sequences)

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        chosen = batch_places(session, self.size, batch)
        others = [at for at in chosen if self.mismatched]
        return ThumbsObjective(
            [*(self.sequences[at] for at in chosen), *(self.mismatched[at] for at in others)],
            [*(self.reference[at] for at in chosen), *(self.mismatched_reference[at] for at in others)],
            [self.up[at] for at in chosen],
        )


def batch_places(session: TrainingSession, size: int, batch: int) -> list[int]:
    """Return the indices of the session's next batch, as ``epoch_places`` draws them."""
    return epoch_places(f"epoch {session.options.seed}", session.step, size, batch)


def epoch_places(seed: str, number: int, size: int, batch: int) -> list[int]:
    """Return the indices of batch ``number``, from 0, out of ``size`` examples.

    Each epoch has every index once, in an order that is drawn from ``seed`` and the epoch. A batch may span
    two epochs.
    """
    batch = min(batch, size)
    first = number * batch
    orders: dict[int, list[int]] = {}
    places: list[int] = []
    for draw in range(first, first + batch):
        epoch, at = divmod(draw, size)
        if epoch not in orders:
            orders[epoch] = list(range(size))
            source = random.Random(f"{seed} {epoch}")  # noqa: S311 - not a secret
            source.shuffle(orders[epoch])
        places.append(orders[epoch][at])
    return places


@dataclass(frozen=True, slots=True)
class LogLessons:
    """The examples of a model's log, and what a method needs to make a curriculum of them.

    ``parent`` is the adapter that the training continues from, None the base. With ``unjudged``, ``sft``
    takes replies without feedback for wanted. ``beta`` is that of ``preferences``.
    """

    name: str
    examples: Sequence[Example]
    encoder: ExampleEncoder
    base: FrozenBase
    parent: TrainableAdapter | None
    unjudged: bool = False
    beta: float = 0.1

    @property
    def taught(self) -> list[Example]:
        """The examples that are not held out."""
        return [example for example in self.examples if not example.is_held_out]


def supervised(lessons: LogLessons) -> SupervisedCurriculum:
    """Learn replies that were liked or corrected.

    Like ``preferences`` and ``thumbs``, it leaves out what is held out and what does not fit the context, and
    raises ``NothingToTrain``, which says why nothing is left.
    """
    wanted = [
        (example.prompt, wanted_reply(example.reply, example.judged, unjudged=lessons.unjudged))
        for example in lessons.taught
    ]
    replies = [(prompt, reply) for prompt, reply in wanted if reply is not None]
    sequences = [sequence for _, sequence in lessons.encoder.fitting(replies, lambda pair: pair)]
    _check(lessons, len(replies), len(sequences), "was liked or corrected")
    return SupervisedCurriculum(sequences)


def preferences(lessons: LogLessons) -> PreferenceCurriculum:
    """Learn to prefer corrections to the replies that they correct. Raises as ``supervised``."""
    compared = [(example.prompt, preferred_pair(example.reply, example.judged)) for example in lessons.taught]
    pairs = [(prompt, pair) for prompt, pair in compared if pair is not None]
    encoded = [[lessons.encoder.sequence(prompt, reply) for reply in pair] for prompt, pair in pairs]
    whole = [sequence for pair in encoded if None not in pair for sequence in pair if sequence is not None]
    _check(lessons, len(pairs), len(whole) // 2, "was corrected")
    reference = reply_log_probs(lessons.base, lessons.parent, whole)
    return PreferenceCurriculum(whole, reference, lessons.beta)


def thumbs(lessons: LogLessons) -> ThumbsCurriculum:
    """Learn from replies that were liked or disliked. Raises as ``supervised``."""
    encoder = lessons.encoder
    thumbed = [example for example in lessons.taught if example.judged.liked is not None and example.reply]
    fitting = encoder.fitting(thumbed, lambda example: (example.prompt, example.reply))
    _check(lessons, len(thumbed), len(fitting), "was liked or disliked")
    examples, sequences = [example for example, _ in fitting], [sequence for _, sequence in fitting]
    before = [examples[-1], *examples[:-1]]
    mixed = [
        encoder.sequence(other.prompt, example.reply) for example, other in zip(examples, before, strict=True)
    ]
    # A single example has no other prompt, and the KL estimate needs a mismatched pair for every reply.
    mismatched = [sequence for sequence in mixed if sequence is not None]
    if len(examples) == 1 or len(mismatched) < len(mixed):
        mismatched = []
    return ThumbsCurriculum(
        sequences,
        reply_log_probs(lessons.base, lessons.parent, sequences),
        [bool(example.judged.liked) for example in examples],
        mismatched,
        reply_log_probs(lessons.base, lessons.parent, mismatched),
    )


def _check(lessons: LogLessons, fit_for_method: int, fitting: int, needed: str) -> None:
    """Raise ``NothingToTrain`` with the first step of the selection that left no example."""
    if fitting:
        return
    name, examples, taught = lessons.name, lessons.examples, lessons.taught
    if not examples:
        raise NothingToTrain(name, "its log has no interaction since its last training")
    if not taught:
        raise NothingToTrain(name, f"all {len(examples)} new interactions are held out for evaluation")
    if not fit_for_method:
        raise NothingToTrain(name, f"none of its {len(taught)} new replies {needed}")
    raise NothingToTrain(name, f"each of its {fit_for_method} examples is longer than the context")
