"""Reinforcement learning from rewards that can be verified: groups of replies to one prompt (GRPO).

π is the model that learns, π_old the same weights before this update, and μ the sampler of the reply: the
serving engine, whose probabilities differ a little from the trainer's.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from populace.learning.methods.objective import Loss, Scored, TrainSequence, numbers_like

Clipping = Literal["ppo", "cispo"]


def group_advantages(rewards: Sequence[float], *, scaled: bool = True) -> list[float]:
    """A_i = (R_i − mean R) / (std R + 10⁻⁴) over the replies to one prompt; all 0 if they are equal.

    Shao et al., "DeepSeekMath" (2024), section 4.1. Without ``scaled`` they are not divided, so that a
    prompt's weight does not depend on its difficulty (Liu et al., "Understanding R1-Zero-Like Training",
    2025).
    """
    mean = statistics.fmean(rewards)
    if max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    spread = statistics.pstdev(rewards) + 1e-4 if scaled else 1.0
    return [(reward - mean) / spread for reward in rewards]


@dataclass(frozen=True, slots=True)
class PolicyObjective:
    """A clipped policy gradient; the mean over scored tokens of the following, with ρ = π / π_old.

    ``ppo``: −w min(ρ A, clip(ρ, 1 − low, 1 + high) A), Schulman et al. (2017). ``cispo``:
    −w sg(clip(ρ, 1 − low, 1 + high)) A log π, MiniMax-M1 (2025): clipped tokens keep a gradient.
    w = min(π_old / μ, ``mismatch_max``), without a gradient, corrects for the sampler being another engine
    (Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", 2025).

    ``advantages`` has a number for each sequence; ``sampler``, ``old`` and ``parent`` have the
    log-probability of each scored token, and ``old`` None stands for those of this pass. ``parent``
    only serves to report the distance to the parent: the mean of exp(d) − 1 − d, d = log π_parent − log π
    (Schulman's k3 estimate).
    """

    sequences: Sequence[TrainSequence]
    advantages: Sequence[float]
    sampler: Sequence[float]
    old: Sequence[float] | None = None
    parent: Sequence[float] | None = None
    clipping: Clipping = "ppo"
    low: float = 0.2
    high: float = 0.28
    mismatch_max: float = 2.0

    def loss(self, scored: Scored) -> Loss:
        """Return the loss, the share of clipped tokens, and the distances to the sampler and the parent."""
        log_probs_N = scored.target_log_probs
        now_N = log_probs_N.detach()
        old_N = now_N if self.old is None else numbers_like(self.old, now_N)
        advantage_N = torch.cat(
            [
                now_N.new_full((count,), advantage)
                for count, advantage in zip(scored.counts, self.advantages, strict=True)
            ]
        )
        mismatch_N = (old_N - numbers_like(self.sampler, now_N)).exp()
        ratio_N = (log_probs_N - old_N).exp()
        bounded_N = ratio_N.clamp(1 - self.low, 1 + self.high)
        if self.clipping == "ppo":
            gain_N = torch.minimum(ratio_N * advantage_N, bounded_N * advantage_N)
        else:
            gain_N = bounded_N.detach() * advantage_N * log_probs_N
        value = -(mismatch_N.clamp(max=self.mismatch_max) * gain_N).mean()
        metrics = {
            "clipped": float((ratio_N.detach() != bounded_N.detach()).float().mean()),
            "mismatch": float((old_N - numbers_like(self.sampler, now_N)).abs().mean()),
        }
        if self.parent is not None:
            distance_N = numbers_like(self.parent, now_N) - now_N
            metrics["kl_parent"] = float((distance_N.exp() - 1 - distance_N).mean())
        return Loss(value, metrics)
