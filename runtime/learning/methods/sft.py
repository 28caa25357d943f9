"""Supervised fine-tuning: replies that a person accepted or corrected become likelier."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


SAID_SURELY = 0.8
"""A token that is as probable as this is not made more probable: what is said already is left alone."""


@dataclass(frozen=True, slots=True)
class CorrectionObjective:
    """L = −Σ_t w_t [π(y_t | x, y_<t) < ``SAID_SURELY``] log π(y_t | x, y_<t) / Σ_t w_t.

    It asks for no more than is needed: the cross-entropy of all tokens goes on to raise those that are said,
    which changes all other replies.
    """

    sequences: Sequence[TrainSequence]

    def loss(self, scored: Scored) -> Loss:
        """Return the loss and the number of scored tokens."""
        of_tokens_N = token_weights(self.sequences, scored.log_probs)
        log_probs_N = scored.target_log_probs
        needed_N = of_tokens_N * (log_probs_N.detach() < math.log(SAID_SURELY))
        return Loss(-(needed_N * log_probs_N).sum() / of_tokens_N.sum(), {"tokens": float(len(of_tokens_N))})
