# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch.linalg's results are untyped.
"""The initial factors of an adapter. W is a layer's weight [outputs, inputs], s the scaling.

Some initialisations begin with B₀·A₀ ≠ 0 and subtract it from the base's weights. A shared base cannot
change, so the adapter contains the subtraction: ΔW = s (B·A − B₀·A₀) with constant B₀ and A₀, which is 0 at
first.
"""

import math
from typing import NamedTuple

import torch

from populace.actors.training_options import Start


class Factors(NamedTuple):
    """A [rank, inputs] and B [outputs, rank] in float32; with ``is_offset`` their product is subtracted."""

    a: torch.Tensor
    b: torch.Tensor
    is_offset: bool = False


WITHOUT_OFFSET: frozenset[Start] = frozenset(["uniform", "orthogonal-tail"])
"""Starts with B₀ = 0; an adapter of any other is served with twice its rank."""


def initial_factors(
    weight: torch.Tensor, rank: int, scaling: float, start: Start, generator: torch.Generator
) -> Factors:
    """Make the initial A and B of a layer, on the device of W. Only ``uniform`` draws from ``generator``.

    ``uniform``: A is uniform in ±1/√inputs and B = 0, as in PEFT (Hu et al., "LoRA", 2021).
    ``orthogonal-tail``: A = V₋ᵣᵀ, the right singular vectors of the smallest singular values of W, and B = 0,
    so that training begins in the input directions that the base uses least.
    ``olora-tail``: B₀ = U₋ᵣ and A₀ = V₋ᵣᵀ, the left and right singular vectors of the smallest singular
    values, without these (Mind Lab, "On the Scaling of PEFT", 2026, which says nothing of the offset).
    ``milora``: s B₀·A₀ = U₋ᵣ Σ₋ᵣ V₋ᵣᵀ, the smallest singular values, √Σ₋ᵣ in each factor (Wang et al., 2024).
    ``pissa``: s B₀·A₀ = U_r Σ_r V_rᵀ, the largest singular values, √Σ_r in each factor (Meng et al., 2024).
    ``olora``: B₀ is the first columns of Q and A₀ the first rows of R, with W = Q·R (Büyükakyüz, 2024).
    """
    outputs, inputs = weight.shape
    if start == "uniform":
        bound = 1 / math.sqrt(inputs)
        # Drawn on the CPU: the same seed gives the same adapter on every device.
        a = (torch.rand(rank, inputs, generator=generator) * 2 - 1) * bound
        return Factors(a.to(weight.device), weight.new_zeros(outputs, rank, dtype=torch.float32))
    matrix = weight.detach().float()
    if start == "orthogonal-tail":
        # The full V: a layer with more inputs than outputs has a null space, which its last rows span.
        right = torch.linalg.svd(matrix, full_matrices=True).Vh
        return Factors(right[-rank:].contiguous(), matrix.new_zeros(outputs, rank))
    if start == "olora":
        orthogonal, triangular = torch.linalg.qr(matrix)
        return Factors(triangular[:rank].contiguous(), orthogonal[:, :rank].contiguous(), is_offset=True)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    chosen = slice(rank) if start == "pissa" else slice(-rank, None)
    a, b = right[chosen], left[:, chosen]
    if start != "olora-tail":
        root = (values[chosen] / scaling).sqrt()
        a, b = root[:, None] * a, b * root
    return Factors(a.contiguous(), b.contiguous(), is_offset=True)
