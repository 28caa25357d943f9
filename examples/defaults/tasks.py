"""The tasks of ``rank_start_alpha.py``: sums of two-digit numbers, and products of one with a digit. Pure.

The default base gets next to none of them right, and a few minutes of training do not make them easy: what
they measure does not saturate.
"""

import itertools
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from populace.actors.engine import Message
from populace.actors.reward_tasks import RewardTask

Kind = Literal["sums", "products"]
KINDS: tuple[Kind, ...] = ("sums", "products")
SIGNS = {"sums": "+", "products": "*"}
SPLIT_SEED = 0


class Item(NamedTuple):
    """A question for a sum or a product."""

    kind: Kind
    first: int
    second: int

    @property
    def prompt(self) -> tuple[Message, ...]:
        asked = f"What is {self.first} {SIGNS[self.kind]} {self.second}?"
        return (Message("system", "Be brief."), Message("user", asked))

    @property
    def answer(self) -> str:
        """The whole reply that is right."""
        return str(self.first + self.second if self.kind == "sums" else self.first * self.second)

    @property
    def task(self) -> RewardTask:
        return RewardTask(self.prompt, {"answer": self.answer})


class Amounts(NamedTuple):
    """How many sums, and how many products, each part of the questions has.

    What is learned before the cells with rewards begin is the rest of the products, and ``taught`` sums.
    """

    held_out: int
    learned: int
    judging: int
    taught: int


class Split(NamedTuple):
    """Questions of which no pair of numbers is in two parts.

    ``taught`` is learned before the cells with rewards begin, until enough of ``judging`` is right.
    ``learned`` is what cells learn, and ``held_out`` what they are measured on.
    """

    held_out: tuple[Item, ...]
    learned: tuple[Item, ...]
    judging: tuple[Item, ...]
    taught: tuple[Item, ...]


def split(amounts: Amounts) -> Split:
    """Draw the questions, always the same ones. Raises ``ValueError`` if there are too few products."""
    chance = random.Random(SPLIT_SEED)
    parts: tuple[list[Item], ...] = ([], [], [], [])
    for kind in KINDS:
        items = _items(kind, chance)
        ends = list(itertools.accumulate(amounts))
        if kind == "products":
            ends[-1] = len(items)
        if ends[-1] > len(items) or ends[-2] >= len(items):
            raise ValueError(f"{ends[-2] + 1} {kind} at least are needed; there are {len(items)}")
        for part, begin, end in zip(parts, [0, *ends], ends, strict=False):
            part += items[begin:end]
    for part in parts:
        chance.shuffle(part)
    return Split(*map(tuple, parts))


def right_of(kind: Kind, items: Sequence[Item], said: Sequence[bool]) -> float:
    """Return the share of right replies to the questions of a kind; 0 if there is none."""
    of_kind = [right for item, right in zip(items, said, strict=True) if item.kind == kind]
    return sum(of_kind) / len(of_kind) if of_kind else 0.0


def _items(kind: Kind, chance: random.Random) -> list[Item]:
    """Return all questions of a kind in an order by chance; a sum is there in one of its two orders."""
    if kind == "products":
        items = [Item(kind, first, second) for first in range(10, 100) for second in range(2, 10)]
    else:
        pairs = itertools.combinations_with_replacement(range(10, 100), 2)
        items = [Item(kind, *chance.sample(pair, 2)) for pair in pairs]
    chance.shuffle(items)
    return items
