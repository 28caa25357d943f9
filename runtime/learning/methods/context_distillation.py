"""Context distillation: a model learns to say without a context what it says with it.

The student answers a query alone, on policy; the teacher (the same model or the base, with the context
before the same query) judges the answer token by token. Their distance is the reverse KL divergence
KL(s ‖ q) of the student s = π_θ(· | x, y_<t) to the teacher q = π_T(· | c, x, y_<t).

``sequences`` are what the student reads. ``distillation_sequence`` makes one of a query and an answer; it
takes no context, so no context can be in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from populace.learning.methods.objective import Loss, Scored, TrainSequence, numbers_like


def distillation_sequence(query_ids: Sequence[int], reply_ids: Sequence[int]) -> TrainSequence:
    """Return what the student reads: the query and its own reply, each token of which is scored."""
    return TrainSequence((*query_ids, *reply_ids), (0.0,) * len(query_ids) + (1.0,) * len(reply_ids))


@dataclass(frozen=True, slots=True)
class SampledDistillation:
    """The divergence at the sampled tokens only, as a reward.

    A_t = clip(log q(y_t) − log s_old(y_t)), and L = −Σ_t exp(log s(y_t) − log s_old(y_t)) A_t / N: importance
    sampling from the student that answered. Its expectation over answers is the divergence, so it needs no
    baseline. Lu et al., "On-Policy Distillation" (Thinking Machines Lab, 2025). ``sampler`` and ``teacher``
    have a logarithm for each scored token.
    """

    sequences: Sequence[TrainSequence]
    sampler: Sequence[float]
    teacher: Sequence[float]
    advantage_max: float = 5.0

    def loss(self, scored: Scored) -> Loss:
        """Return the loss, with the divergence that it estimates, in nats per token."""
        log_probs_N = scored.target_log_probs
        sampler_N = numbers_like(self.sampler, log_probs_N)
        gap_N = numbers_like(self.teacher, log_probs_N) - sampler_N
        advantage_N = gap_N.clamp(-self.advantage_max, self.advantage_max)
        value = -((log_probs_N - sampler_N).exp() * advantage_N).mean()
        return Loss(value, {"reverse_kl": -float(gap_N.mean())})


@dataclass(frozen=True, slots=True)
class ExactDistillation:
    """The divergence over the student's ``top`` likeliest tokens: L = Σ_t Σ_k s_k (log s_k − log q_k) / N.

    The gradient goes through all of it; the logarithms are not normalised again over those tokens. Ye et al.,
    "On-Policy Context Distillation" (2026), with 256 of them. All other tokens count as one more: without it
    the sum falls below 0, and a student with much probability in its tail learns to put more there. A token
    outside the ``top`` that the teacher finds likely, such as a name, is learned only if ``top`` is the whole
    vocabulary.

    ``forward`` is the weight of KL(q ‖ s), at the same tokens: its gradient is weighted by the teacher's
    probability of a token, that of the reverse divergence by the student's (Agarwal et al., "On-Policy
    Distillation of Language Models", 2024). ``teacher`` has the teacher's log-probabilities [N, V].
    """

    sequences: Sequence[TrainSequence]
    teacher: torch.Tensor
    top: int = 256
    forward: float = 0.0

    def loss(self, scored: Scored) -> Loss:
        """Return the weighted sum of both divergences, and each in nats per token."""
        student_NK, teacher_NK = scored.log_probs, self.teacher.to(scored.log_probs.device)
        if self.top < student_NK.shape[1]:
            student_NK, chosen_NK = student_NK.topk(self.top, dim=1)
            teacher_NK = teacher_NK.gather(1, chosen_NK)
            student_NK = torch.cat([student_NK, _rest(student_NK)], dim=1)
            teacher_NK = torch.cat([teacher_NK, _rest(teacher_NK)], dim=1)
        reverse = (student_NK.exp() * (student_NK - teacher_NK)).sum(1).mean()
        metrics = {"reverse_kl": float(reverse.detach())}
        if not self.forward:
            return Loss(reverse, metrics)
        forward = (teacher_NK.exp() * (teacher_NK - student_NK)).sum(1).mean()
        metrics["forward_kl"] = float(forward.detach())
        return Loss((1 - self.forward) * reverse + self.forward * forward, metrics)


def _rest(log_probs_NK: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of each row's remaining probability [N, 1], of 1e-6 at least."""
    return (1 - log_probs_NK.exp().sum(1, keepdim=True)).clamp(min=1e-6).log()
