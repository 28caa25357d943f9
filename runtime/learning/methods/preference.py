"""Learning from preferences: DPO for pairs of replies, KTO for thumbs without a pair.

Both compare the model with a reference, which is its parent: r = log π(y | x) − log π_ref(y | x), summed over
the reply's tokens. The reference's sums are computed beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from populace.learning.methods.objective import Loss, Scored, TrainSequence, numbers_like


@dataclass(frozen=True, slots=True)
class PreferenceObjective:
    """DPO: L = −log σ(β (r_chosen − r_rejected)), the mean over pairs.

    Rafailov et al., "Direct Preference Optimization" (2023), equation 7. ``sequences`` alternate: chosen,
    rejected, chosen, …; ``reference`` has the log-probability of each.
    """

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]
    beta: float = 0.1

    def loss(self, scored: Scored) -> Loss:
        """Return the loss, the mean margin in nats, and the share of pairs in the right order."""
        gained_S = _gained(scored, self.reference)
        margins = gained_S[0::2] - gained_S[1::2]
        value = -functional.logsigmoid(self.beta * margins).mean()
        right = (margins.detach() > 0).float().mean()
        return Loss(value, {"margin": float(margins.detach().mean()), "preferred": float(right)})


@dataclass(frozen=True, slots=True)
class ThumbsObjective:
    """KTO: moves a thumbed reply away from z₀, which any reply of this model gains over the reference.

    L = λ (1 − σ(β (r − z₀))) for a thumb up and λ (1 − σ(β (z₀ − r))) for one down, the mean over replies;
    z₀ = max(0, mean r of the mismatched), without a gradient. Ethayarajh et al., "KTO" (2024), equation 8.
    ``sequences`` are the thumbed replies, then as many mismatched ones: each prompt with another's reply.
    λ gives the ups and the downs the same total weight, however many there are of each.
    """

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]
    up: Sequence[bool]
    beta: float = 0.1

    def loss(self, scored: Scored) -> Loss:
        """Return the loss, z₀, and the mean gain of replies with a thumb up and down, in nats."""
        gained_S = _gained(scored, self.reference)
        count = len(self.up)
        gained, mismatched = gained_S[:count], gained_S[count:]
        zero = mismatched.detach().mean().clamp(min=0) if len(mismatched) else gained_S.new_zeros(())
        sign = numbers_like([1.0 if up else -1.0 for up in self.up], gained)
        ups = sum(self.up)
        weight = [count / (2 * ups) if up else count / (2 * (count - ups)) for up in self.up]
        if ups in (0, count):
            weight = [1.0] * count
        losses = 1 - torch.sigmoid(self.beta * sign * (gained - zero))
        value = (numbers_like(weight, gained) * losses).mean()
        metrics = {"z0": float(zero)}
        if ups:
            metrics["gained_up"] = float(gained.detach()[sign > 0].mean())
        if ups < count:
            metrics["gained_down"] = float(gained.detach()[sign < 0].mean())
        return Loss(value, metrics)


def _gained(scored: Scored, reference: Sequence[float]) -> torch.Tensor:
    """Return log π − log π_ref of each sequence [S], in nats."""
    sums_S = scored.sums(scored.target_log_probs)
    return sums_S - numbers_like(reference, sums_S)
