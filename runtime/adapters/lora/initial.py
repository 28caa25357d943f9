# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch.linalg's results are untyped.
"""Where the training of an adapter begins. W is a layer's weight [outputs, inputs], s the scaling.

Some ways begin with B₀·A₀ ≠ 0 and take it out of the base's weights. A shared base stays as it is, so here
the adapter itself has the difference: ΔW = s (B·A − B₀·A₀), which is 0 at first and in which B₀ and A₀ stay.
"""

import math
from typing import NamedTuple

import torch

from populace.actors.training_options import Start


class Factors(NamedTuple):
    """A [rank, inputs] and B [outputs, rank] in float32; ``is_offset``: what they begin with is taken off."""

    a: torch.Tensor
    b: torch.Tensor
    is_offset: bool = False


def initial_factors(
    weight: torch.Tensor, rank: int, scaling: float, start: Start, generator: torch.Generator
) -> Factors:
    """Make a layer's first A and B. Only ``uniform`` draws from ``generator``.

    ``uniform``: A in ±1/√inputs and B = 0, as PEFT does (Hu et al., "LoRA", 2021).
    ``orthogonal-tail``: A = V₋ᵣᵀ, the smallest right singular vectors of W without their values, and B = 0:
    learning begins where the base does least.
    ``pissa``: s B₀·A₀ is the principal part U_r Σ_r V_rᵀ, half of Σ on each side (Meng et al., 2024).
    ``olora``: B₀ and A₀ are the first columns of Q and rows of R of W = Q·R (Büyükakyüz, 2024).
    """
    outputs, inputs = weight.shape
    if start == "uniform":
        bound = 1 / math.sqrt(inputs)
        a = (torch.rand(rank, inputs, generator=generator) * 2 - 1) * bound
        return Factors(a, torch.zeros(outputs, rank))
    matrix = weight.detach().float().cpu()
    if start == "orthogonal-tail":
        # All of V: a layer with more inputs than outputs is blind along the last of them.
        right = torch.linalg.svd(matrix, full_matrices=True).Vh
        return Factors(right[-rank:].contiguous(), torch.zeros(outputs, rank))
    if start == "pissa":
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        root = (values[:rank] / scaling).sqrt()
        return Factors(root[:, None] * right[:rank], left[:, :rank] * root, is_offset=True)
    orthogonal, triangular = torch.linalg.qr(matrix)
    return Factors(triangular[:rank].contiguous(), orthogonal[:, :rank].contiguous(), is_offset=True)
