"""Serving images of random adapters, and what they compute by definition."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from populace.adapters.serving_image import NAMES, serving_image
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.layout import Factor, Side


class Matrices(NamedTuple):
    """A module's A [rank, inputs] and B [outputs, rank], and what their product is multiplied with."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float


def random_matrices(
    rank: int, inputs: int, outputs: int, generator: torch.Generator, *, alpha: float, dtype: torch.dtype
) -> Matrices:
    a = torch.randn(rank, inputs, generator=generator).to(dtype)
    b = torch.randn(outputs, rank, generator=generator).to(dtype)
    return Matrices(a, b, alpha / rank)


def image_of(modules: Mapping[str, Matrices], dtype: torch.dtype) -> PackedAdapter:
    """Pack the matrices, and make the image for a base of this type."""
    factors: list[Factor] = []
    data: dict[tuple[str, Side], bytes] = {}
    sides: tuple[Side, Side] = ("A", "B")
    for name, matrices in modules.items():
        alpha = matrices.scale * matrices.a.shape[0]
        for side, matrix in zip(sides, (matrices.a, matrices.b.T), strict=True):
            rows, columns = matrix.shape
            factors.append(Factor(name, side, (rows, columns), NAMES[matrix.dtype], alpha))
            data[name, side] = matrix.contiguous().view(torch.uint8).numpy().tobytes()
    packed = PackedAdapter(memoryview(pack_adapter(data, factors, base=None, config=b"{}")))
    return PackedAdapter(memoryview(serving_image(packed, dtype)))
