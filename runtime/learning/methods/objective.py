# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's split is untyped.
"""The protocol of a learning method: sequences for the model to read, and a loss of their scored tokens.

Shape suffixes here and in the methods: N = scored tokens, V = vocabulary, S = sequences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch


class TrainSequence(NamedTuple):
    """Token ids, and the weight of each one's prediction.

    ``weights[t]`` is the weight of ``ids[t]`` given ``ids[:t]``; 0 leaves it out. The first is never scored.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def scored(self) -> tuple[int, ...]:
        """The places of the scored tokens, in order."""
        return tuple(place for place, weight in enumerate(self.weights) if weight and place)


class Scored(NamedTuple):
    """The result of a forward pass: the scored tokens of all sequences, one sequence after the other.

    ``log_probs`` [N, V] are natural logarithms over the whole vocabulary in float32, ``targets`` [N] the ids
    of the scored tokens, and ``counts`` [S] the number of them in each sequence. ``hidden`` has the inputs of
    the layers that the base records, for all tokens and not only the scored ones. ``last`` [N, H] are the
    last layer's outputs from which the scored tokens are predicted, and ``inputs`` those of the recorded
    layers there.
    """

    log_probs: torch.Tensor
    targets: torch.Tensor
    counts: tuple[int, ...]
    hidden: tuple[torch.Tensor, ...] = ()
    last: torch.Tensor | None = None
    inputs: tuple[torch.Tensor, ...] = ()

    @property
    def target_log_probs(self) -> torch.Tensor:
        """The log-probability of each scored token [N]."""
        return self.log_probs.gather(1, self.targets[:, None])[:, 0]

    def part(self, begin: int, end: int) -> "Scored":
        """Return what was scored of the sequences in ``[begin, end)``, without ``hidden``."""
        first = sum(self.counts[:begin])
        tokens = slice(first, first + sum(self.counts[begin:end]))
        return Scored(
            self.log_probs[tokens],
            self.targets[tokens],
            self.counts[begin:end],
            last=None if self.last is None else self.last[tokens],
            inputs=tuple(layer[tokens] for layer in self.inputs),
        )

    def sums(self, values_N: torch.Tensor) -> torch.Tensor:
        """Return the sum of the tokens' values for each sequence: [N] to [S]."""
        return torch.stack([part.sum() for part in values_N.split(self.counts)])


@dataclass(frozen=True, slots=True)
class Loss:
    """A differentiable number to minimise, and numbers to report with it."""

    value: torch.Tensor
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


class Objective(Protocol):
    """One personal model's part of a step."""

    @property
    def sequences(self) -> Sequence[TrainSequence]:
        """The sequences that the model reads; each must fit its context."""
        ...

    def loss(self, scored: Scored) -> Loss:
        """Return the differentiable loss of the scored tokens."""
        ...


def token_weights(sequences: Sequence[TrainSequence], like: torch.Tensor) -> torch.Tensor:
    """Return the weights of all scored tokens [N], with the type and device of ``like``."""
    flat = [sequence.weights[place] for sequence in sequences for place in sequence.scored]
    return numbers_like(flat, like)


def numbers_like(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """Return the numbers as a tensor with the type and device of ``like``."""
    return torch.tensor(list(numbers), dtype=like.dtype, device=like.device)
