# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's split is untyped.
"""What a method of training is to the step that runs it: sequences to read, and a loss of what they scored.

Shape suffixes here and in the methods: N = scored tokens, V = vocabulary, S = sequences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch


class TrainSequence(NamedTuple):
    """Token ids, and how much the prediction of each counts.

    ``weights[t]`` is that of ``ids[t]`` given ``ids[:t]``; 0 does not score it. The first token is given.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def scored(self) -> tuple[int, ...]:
        """The places of the tokens that are scored, in order."""
        return tuple(place for place, weight in enumerate(self.weights) if weight and place)


class Scored(NamedTuple):
    """What a forward pass made of an objective's sequences: their scored tokens, one after the other.

    ``log_probs`` [N, V] are natural logarithms over the whole vocabulary in float32, ``targets`` [N] the
    tokens that stand there, and ``counts`` how many of each sequence are scored.
    """

    log_probs: torch.Tensor
    targets: torch.Tensor
    counts: tuple[int, ...]

    @property
    def target_log_probs(self) -> torch.Tensor:
        return self.log_probs.gather(1, self.targets[:, None])[:, 0]

    def sums(self, values_N: torch.Tensor) -> torch.Tensor:
        """Add up a number of each token by sequence: [N] to [S]."""
        return torch.stack([part.sum() for part in values_N.split(self.counts)])


@dataclass(frozen=True, slots=True)
class Loss:
    """A differentiable number to make smaller, and what else is worth telling about it."""

    value: torch.Tensor
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


class Objective(Protocol):
    """One personal model's part of a step."""

    @property
    def sequences(self) -> Sequence[TrainSequence]:
        """What the model reads; its context must hold each."""
        ...

    def loss(self, scored: Scored) -> Loss:
        """Judge what the sequences scored; differentiable."""
        ...


def token_weights(sequences: Sequence[TrainSequence], like: torch.Tensor) -> torch.Tensor:
    """The weights of all scored tokens [N], on the device of ``like``."""
    flat = [one.weights[place] for one in sequences for place in one.scored]
    return numbers_like(flat, like)


def numbers_like(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """The numbers as a tensor of the type and on the device of ``like``."""
    return torch.tensor(list(numbers), dtype=like.dtype, device=like.device)
