"""Supervised fine-tuning: replies that a person accepted or corrected become likelier."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from populace.learning.methods.objective import Loss, Scored, TrainSequence, token_weights


@dataclass(frozen=True, slots=True)
class SupervisedObjective:
    """Cross-entropy: L = −Σ_t w_t log π(y_t | x, y_<t) / Σ_t w_t, over all scored tokens of the sequences."""

    sequences: Sequence[TrainSequence]

    def loss(self, scored: Scored) -> Loss:
        """Return the loss and the number of scored tokens."""
        of_tokens_N = token_weights(self.sequences, scored.log_probs)
        total = of_tokens_N.sum()
        value = -(of_tokens_N * scored.target_log_probs).sum() / total
        return Loss(value, {"tokens": float(len(of_tokens_N))})


Reads = Callable[[Scored], Scored]
"""Returns what was scored as replies say it that read their person's memory."""

SAID_SURELY = 0.8
"""A token that is as probable as this is not made more probable: what is said already is left alone."""


@dataclass(frozen=True, slots=True)
class CorrectionObjective:
    """L = −Σ_t w_t [π(y_t | x, y_<t) < ``SAID_SURELY``] log π(y_t | x, y_<t) / Σ_t w_t.

    It asks for no more than is needed: the cross-entropy of all tokens goes on to raise those that are said,
    which changes all other replies. With ``reading``, which returns what was scored as replies that read
    their memory say it, it is the mean of both.
    """

    sequences: Sequence[TrainSequence]
    reading: Reads | None = None

    def loss(self, scored: Scored) -> Loss:
        """Return the loss and the number of scored tokens."""
        value = self._value(scored)
        if self.reading is not None:
            value = (value + self._value(self.reading(scored))) / 2
        return Loss(value, {"tokens": float(len(scored.targets))})

    def _value(self, scored: Scored) -> torch.Tensor:
        of_tokens_N = token_weights(self.sequences, scored.log_probs)
        log_probs_N = scored.target_log_probs
        needed_N = of_tokens_N * (log_probs_N.detach() < math.log(SAID_SURELY))
        return -(needed_N * log_probs_N).sum() / of_tokens_N.sum()
