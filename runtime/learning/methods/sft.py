"""Supervised fine-tuning: replies that a person accepted or corrected become likelier."""

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
