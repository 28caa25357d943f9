"""Trains small adapters of one task that differ in their examples, the order of these, and initial weights.

Shape suffixes: M = members, N = items, K = choices.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from vote.tasks import Item, Task

from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, TrainingSession, take_step

Floats = NDArray[np.float64]

TOGETHER = 8
"""Members that share a training step: more would need more memory and save no more time."""

READ_TOGETHER = 64

TRAINED_COST = 3
"""Training on a token takes this many times as long as reading it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The training of each member: ``steps`` of ``batch`` examples, from a share ``seen`` of all of them."""

    members: int
    steps: int
    rank: int
    learning_rate: float
    seen: float = 0.5
    batch: int = 16


class MemberTrainer:
    """Trains the members of a task, and scores the choices of its items with them."""

    def __init__(self, base: FrozenBase, tokenizer: BaseTokenizer) -> None:
        self._base = base
        self._tokenizer = tokenizer

    def tokens_of(self, task: Task, items: Sequence[Item]) -> list[TrainSequence]:
        """Encode prompts with the right answers; only the answer's token is in the loss.

        Raises ``ValueError`` as ``choice_tokens``.
        """
        choices = self.choice_tokens(task)
        return [self._sequence(item, choices) for item in items]

    def choice_tokens(self, task: Task) -> list[int]:
        """Return the token of each choice. Raises ``ValueError`` if they are not single, different tokens."""
        choices = [self._tokenizer.tokens_of(choice).ids for choice in task.choices]
        if any(len(ids) != 1 for ids in choices) or len({ids[0] for ids in choices}) < len(choices):
            raise ValueError(f"{task.name}: each choice has to be one token that no other has, not {choices}")
        return [ids[0] for ids in choices]

    def train(
        self, task: Task, recipe: Recipe, seed: int, stepped: Callable[[int], None]
    ) -> Iterator[TrainableAdapter]:
        """Yield the trained members, which train some at a time in shared steps.

        ``stepped`` is called after each step with the number of members in it.
        """
        taught = self.tokens_of(task, task.taught)
        for first in range(0, recipe.members, TOGETHER):
            group = [
                Learner.begin(
                    self._base, taught, recipe, f"{task.name} {seed} {number}", seed * 1000 + number
                )
                for number in range(first, min(first + TOGETHER, recipe.members))
            ]
            for _ in range(recipe.steps):
                parts = [(learner.session, SupervisedObjective(learner.next_batch())) for learner in group]
                for outcome in take_step(self._base, parts):
                    if isinstance(outcome, Exception):
                        raise outcome
                stepped(len(group))
            yield from (learner.session.adapter for learner in group)

    def read(self, task: Task, adapter: TrainableAdapter | None, items: Sequence[Item]) -> Floats:
        """Return the log-probability of each choice, normalised over the choices. [N, K]"""
        choices = torch.tensor(self.choice_tokens(task))
        sequences = self.tokens_of(task, items)
        rows: list[torch.Tensor] = []
        with torch.no_grad():
            for first in range(0, len(sequences), READ_TOGETHER):
                [scored] = self._base.score([Reading(adapter, sequences[first : first + READ_TOGETHER])])
                rows.append(scored.log_probs[:, choices].log_softmax(-1))
        return torch.cat(rows).double().numpy()

    def _sequence(self, item: Item, choices: Sequence[int]) -> TrainSequence:
        ids = (*self._tokenizer.tokens_of(item.prompt).ids, choices[item.label])
        return TrainSequence(ids, (*(0.0 for _ in ids[1:]), 1.0))


class Learner:
    """A member in training, and the examples of its share that it has not seen in this epoch."""

    def __init__(
        self, session: TrainingSession, own: list[TrainSequence], batch: int, order: random.Random
    ) -> None:
        self.session = session
        self._own = own
        self._batch = batch
        self._order = order
        self._left: list[TrainSequence] = []

    @classmethod
    def begin(
        cls, base: FrozenBase, taught: Sequence[TrainSequence], recipe: Recipe, name: str, seed: int
    ) -> "Learner":
        """Start an adapter. The name seeds its examples and their order; ``seed`` its initial weights."""
        order = random.Random(name)
        own = order.sample(list(taught), round(recipe.seen * len(taught)))
        adapter = TrainableAdapter.begin(
            base.model, base.modules, LoraShape(rank=recipe.rank), "uniform", seed=seed
        )
        rates = StepOptions(steps=recipe.steps, learning_rate=recipe.learning_rate, warm_up=2, seed=seed)
        return cls(TrainingSession(name, adapter, rates), own, recipe.batch, order)

    def next_batch(self) -> list[TrainSequence]:
        """Return the next examples; after all of its share, another epoch begins in another order."""
        batch: list[TrainSequence] = []
        while len(batch) < self._batch:
            if not self._left:
                self._left = self._order.sample(self._own, len(self._own))
            batch.append(self._left.pop())
        return batch
