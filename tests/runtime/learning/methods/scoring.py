"""What a forward pass would have scored, written by hand."""

import math
from collections.abc import Sequence

import torch

from populace.learning.methods.objective import Scored


def scored(rows: Sequence[Sequence[float]], targets: Sequence[int], counts: Sequence[int]) -> Scored:
    """``rows`` are probabilities over the vocabulary, one for each scored token."""
    log_probs = torch.tensor([[math.log(p) for p in row] for row in rows], requires_grad=True)
    return Scored(log_probs, torch.tensor(targets), tuple(counts))


def gradient_of(value: torch.Tensor, of: Scored) -> torch.Tensor:
    """How the loss changes with each logarithm [N, V]."""
    return torch.autograd.grad(value, of.log_probs)[0]
