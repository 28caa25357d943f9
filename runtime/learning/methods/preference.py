"""Learning from what somebody liked better: DPO for pairs, KTO for thumbs that have no pair.

Both compare the model with a reference, which is its parent: r = log π(y | x) − log π_ref(y | x), summed over
the reply's tokens. The reference's sums are numbers that were computed before.
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
    rejected, chosen, …; ``reference`` has a sum for each.
    """

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]
    beta: float = 0.1

    def loss(self, scored: Scored) -> Loss:
        gained_S = _gained(scored, self.reference)
        margins = gained_S[0::2] - gained_S[1::2]
        value = -functional.logsigmoid(self.beta * margins).mean()
        right = (margins.detach() > 0).float().mean()
        return Loss(value, {"margin": float(margins.detach().mean()), "preferred": float(right)})


@dataclass(frozen=True, slots=True)
class ThumbsObjective:
    """KTO: how far a thumbed reply is from the point z₀ that a reply of this model gains anyway.

    L = λ (1 − σ(β (r − z₀))) for a thumb up and λ (1 − σ(β (z₀ − r))) for one down, the mean over replies;
    z₀ = max(0, mean r of the mismatched), without a gradient. Ethayarajh et al., "KTO" (2024), equation 8.
    ``sequences`` are the thumbed replies, then as many ``mismatched``: each prompt with another's reply.
    λ weighs ups and downs; with as much weight on both sides, whichever there are more of.
    """

    sequences: Sequence[TrainSequence]
    reference: Sequence[float]
    up: Sequence[bool]
    beta: float = 0.1

    def loss(self, scored: Scored) -> Loss:
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
        told = gained.detach()
        metrics = {"z0": float(zero)}
        if ups:
            metrics["gained_up"] = float(told[sign > 0].mean())
        if ups < count:
            metrics["gained_down"] = float(told[sign < 0].mean())
        return Loss(value, metrics)


def _gained(scored: Scored, reference: Sequence[float]) -> torch.Tensor:
    """How much likelier each sequence is than to the reference: natural logarithms [S]."""
    sums_S = scored.sums(scored.target_log_probs)
    return sums_S - numbers_like(reference, sums_S)
