"""Small adapters of one task that differ in what they saw, in which order, and in what they began as.

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
from populace.learning.frozen_base import FrozenBase, Reading
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.session import StepOptions, TrainingSession, take_step

Floats = NDArray[np.float64]

TOGETHER = 8
"""Members in a step: more need more memory, and gain no more time."""

READ_TOGETHER = 64

TRAINED_COST = 3
"""A token that is learned takes as long as so many that are read."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Each member sees ``seen`` of what there is to learn, in batches of ``batch``, for ``steps`` steps."""

    members: int
    steps: int
    rank: int
    learning_rate: float
    seen: float = 0.5
    batch: int = 16


class Classroom:
    """Trains members of a task and reads what they make of its items."""

    def __init__(self, base: FrozenBase, tokenizer: BaseTokenizer) -> None:
        self._base = base
        self._tokenizer = tokenizer

    def tokens_of(self, task: Task, items: Sequence[Item]) -> list[TrainSequence]:
        """Encode prompts with the right answers; only the answer's token is scored.

        Raises ``ValueError`` for a choice that is no single token.
        """
        choices = self.choice_tokens(task)
        return [self._sequence(item, choices) for item in items]

    def choice_tokens(self, task: Task) -> list[int]:
        """The token of each choice."""
        found = [self._tokenizer.tokens_of(choice).ids for choice in task.choices]
        if any(len(tokens) != 1 for tokens in found) or len({tokens[0] for tokens in found}) < len(found):
            raise ValueError(f"{task.name}: each choice has to be a token of its own, not {found}")
        return [tokens[0] for tokens in found]

    def train(
        self, task: Task, recipe: Recipe, seed: int, stepped: Callable[[int], None]
    ) -> Iterator[TrainableAdapter]:
        """Train the members, some at a time in shared steps; ``stepped`` learns how many were in each."""
        taught = self.tokens_of(task, task.taught)
        for first in range(0, recipe.members, TOGETHER):
            group = [
                Learner.begin(
                    self._base, taught, recipe, f"{task.name} {seed} {number}", seed * 1000 + number
                )
                for number in range(first, min(first + TOGETHER, recipe.members))
            ]
            for _ in range(recipe.steps):
                parts = [(one.session, SupervisedObjective(one.next_batch())) for one in group]
                for outcome in take_step(self._base, parts):
                    if isinstance(outcome, Exception):
                        raise outcome
                stepped(len(group))
            yield from (one.session.adapter for one in group)

    def read(self, task: Task, adapter: TrainableAdapter | None, items: Sequence[Item]) -> Floats:
        """How likely each choice is, in natural logarithms and among the choices alone. [N, K]"""
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
    """A member in training, and what it has yet to see of its part, in its own order."""

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
        """Start an adapter; its name says what it sees and in which order, its seed what it begins as."""
        order = random.Random(name)
        own = order.sample(list(taught), round(recipe.seen * len(taught)))
        adapter = TrainableAdapter.begin(
            base.model, base.modules, LoraShape(rank=recipe.rank), "uniform", seed=seed
        )
        rates = StepOptions(steps=recipe.steps, learning_rate=recipe.learning_rate, warm_up=2, seed=seed)
        return cls(TrainingSession(name, adapter, rates), own, recipe.batch, order)

    def next_batch(self) -> list[TrainSequence]:
        """What it sees next; when it has seen all of its part it begins again in another order."""
        batch: list[TrainSequence] = []
        while len(batch) < self._batch:
            if not self._left:
                self._left = self._order.sample(self._own, len(self._own))
            batch.append(self._left.pop())
        return batch
