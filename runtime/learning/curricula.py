"""What a session's next step is about, by method: some of its person's examples, against which reference.

A curriculum holds examples as tokens and draws a step's batch as a function of the session's seed and step.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from populace.actors.errors import NothingToTrain
from populace.actors.training import LogMethod
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
    """``size`` counts what there is to draw from: an epoch is so many."""

    @property
    def size(self) -> int: ...

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        """Draw so many for the session's next step."""
        ...


@dataclass(frozen=True, slots=True)
class SupervisedCurriculum:
    sequences: Sequence[TrainSequence]

    @property
    def size(self) -> int:
        return len(self.sequences)

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        return SupervisedObjective([self.sequences[at] for at in drawn(session, self.size, batch)])


@dataclass(frozen=True, slots=True)
class PreferenceCurriculum:
    """``sequences`` and the parent's ``reference`` alternate: preferred, and what it is preferred to."""

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]

    @property
    def size(self) -> int:
        return len(self.sequences) // 2

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        places = [2 * at + side for at in drawn(session, self.size, batch) for side in (0, 1)]
        return PreferenceObjective(
            [self.sequences[place] for place in places], [self.reference[place] for place in places]
        )


@dataclass(frozen=True, slots=True)
class ThumbsCurriculum:
    """Thumbed replies, and ``mismatched`` ones: the reply of each after the prompt of the one before it."""

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]
    up: Sequence[bool]
    mismatched: Sequence[TrainSequence]
    mismatched_reference: Sequence[float]

    @property
    def size(self) -> int:
        return len(self.sequences)

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        chosen = drawn(session, self.size, batch)
        others = [at for at in chosen if self.mismatched]
        return ThumbsObjective(
            [*(self.sequences[at] for at in chosen), *(self.mismatched[at] for at in others)],
            [*(self.reference[at] for at in chosen), *(self.mismatched_reference[at] for at in others)],
            [self.up[at] for at in chosen],
        )


def drawn(session: TrainingSession, size: int, batch: int) -> list[int]:
    """The places of the session's next batch: every epoch all of them, each in an order of its own."""
    return epoch_places(f"epoch {session.options.seed}", session.step, size, batch)


def epoch_places(seed: str, number: int, size: int, batch: int) -> list[int]:
    """The places of batch ``number``: every epoch has all of them, each in an order that the seed gives."""
    batch = min(batch, size)
    first = number * batch
    orders: dict[int, list[int]] = {}
    places: list[int] = []
    for at_all in range(first, first + batch):
        epoch, at = divmod(at_all, size)
        if epoch not in orders:
            orders[epoch] = list(range(size))
            source = random.Random(f"{seed} {epoch}")  # noqa: S311 - not a secret
            source.shuffle(orders[epoch])
        places.append(orders[epoch][at])
    return places


def steps_of(size: int, batch: int, epochs: float) -> int:
    """How many steps so many epochs are, one at least."""
    return max(1, math.ceil(size * epochs / batch))


def make_curriculum(
    method: LogMethod,
    name: str,
    examples: Sequence[Example],
    encoder: ExampleEncoder,
    base: FrozenBase,
    parent: TrainableAdapter | None,
    *,
    unjudged: bool = False,
) -> Curriculum:
    """Make tokens of the examples that the method can learn from, and have the parent read what it needs.

    ``unjudged`` is for ``sft``: replies that nobody judged are taken for wanted. What is held out, or does
    not fit the context, is left out. Raises ``NothingToTrain``, which says why nothing is left.
    """
    taught = [example for example in examples if not example.is_held_out]
    if method == "sft":
        wanted = [(one.prompt, wanted_reply(one.reply, one.judged, unjudged=unjudged)) for one in taught]
        replies = [(prompt, reply) for prompt, reply in wanted if reply is not None]
        found = [encoder.sequence(prompt, reply) for prompt, reply in replies]
        sequences = [one for one in found if one is not None]
        _check(name, examples, taught, len(replies), len(sequences), "was liked or corrected")
        return SupervisedCurriculum(sequences)
    if method == "preference":
        compared = [(one.prompt, preferred_pair(one.reply, one.judged)) for one in taught]
        pairs = [(prompt, pair) for prompt, pair in compared if pair is not None]
        encoded = [[encoder.sequence(prompt, reply) for reply in pair] for prompt, pair in pairs]
        whole = [one for pair in encoded if None not in pair for one in pair if one is not None]
        _check(name, examples, taught, len(pairs), len(whole) // 2, "was corrected")
        return PreferenceCurriculum(whole, reply_log_probs(base, parent, whole))
    thumbed = [one for one in taught if one.judged.liked is not None and one.reply]
    kept = [(one, encoder.sequence(one.prompt, one.reply)) for one in thumbed]
    fitting = [(one, sequence) for one, sequence in kept if sequence is not None]
    _check(name, examples, taught, len(thumbed), len(fitting), "was liked or disliked")
    return _thumbs([one for one, _ in fitting], [one for _, one in fitting], encoder, base, parent)


def _thumbs(
    examples: Sequence[Example],
    sequences: Sequence[TrainSequence],
    encoder: ExampleEncoder,
    base: FrozenBase,
    parent: TrainableAdapter | None,
) -> ThumbsCurriculum:
    before = [examples[-1], *examples[:-1]]
    mixed = [encoder.sequence(other.prompt, one.reply) for one, other in zip(examples, before, strict=True)]
    # One alone has no other's prompt, and where one does not fit there is no reference point.
    mismatched = [one for one in mixed if one is not None]
    if len(examples) == 1 or len(mismatched) < len(mixed):
        mismatched = []
    return ThumbsCurriculum(
        sequences,
        reply_log_probs(base, parent, sequences),
        [bool(one.judged.liked) for one in examples],
        mismatched,
        reply_log_probs(base, parent, mismatched),
    )


def _check(
    name: str,
    examples: Sequence[Example],
    taught: Sequence[Example],
    fit_for_method: int,
    fitting: int,
    needed: str,
) -> None:
    """Raise ``NothingToTrain`` that names the first reason for which nothing is left."""
    if fitting:
        return
    if not examples:
        raise NothingToTrain(name, "nobody has talked to it since it was trained last")
    if not taught:
        raise NothingToTrain(name, f"all {len(examples)} new interactions are held out to judge it by")
    if not fit_for_method:
        raise NothingToTrain(name, f"none of its {len(taught)} new replies {needed}")
    raise NothingToTrain(name, f"each of its {fit_for_method} examples is longer than the context")
