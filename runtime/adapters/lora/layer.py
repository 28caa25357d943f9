# pyright: reportUnknownMemberType=false
# torch.nn.Module is partly untyped.
"""The parameters of a LoRA adapter in one linear layer.

Shape suffixes: T = tokens, I = the layer's inputs, O = its outputs, R = rank, K = rank of the kept factors.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Self

import torch


class Kept(NamedTuple):
    """The constant factors A [K, I] and B [O, K] of a lower revision in float32: ΔW is ``scaling`` · B·A."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float


class LoraLayer(torch.nn.Module):
    """The factors A [R, I] and B [O, R] in float32: ΔW = s (B·A − B₀·A₀) + ΔW of ``kept``.

    s is ``alpha`` / √R if ``rank_scaled``, else ``alpha`` / R. ``offset`` holds the constants A₀ and B₀ of
    ``initial.py``; without it the subtracted term is 0. ``kept`` are the factors of a lower revision, on
    which the layer is trained and which stay as they are; a layer that only the lower revision adapts has
    rank 0 besides.
    """

    def __init__(
        self,
        a_RI: torch.Tensor,
        b_OR: torch.Tensor,
        *,
        alpha: float,
        rank_scaled: bool,
        offset: tuple[torch.Tensor, torch.Tensor] | None = None,
        kept: Kept | None = None,
    ) -> None:
        super().__init__()
        # Contiguous, as after loading from a file: products of matrices with other strides round differently.
        self.a = torch.nn.Parameter(a_RI.contiguous())
        self.b = torch.nn.Parameter(b_OR.contiguous())
        self.alpha = alpha
        self.rank_scaled = rank_scaled
        self.offset = None if offset is None else (offset[0].contiguous(), offset[1].contiguous())
        self.kept = None if kept is None else Kept(kept.a.contiguous(), kept.b.contiguous(), kept.scaling)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move or convert the constant factors too: torch knows of the parameters alone."""
        super()._apply(fn, recurse)
        if self.offset is not None:
            self.offset = fn(self.offset[0]), fn(self.offset[1])
        if self.kept is not None:
            self.kept = Kept(fn(self.kept.a), fn(self.kept.b), self.kept.scaling)
        return self

    @property
    def rank(self) -> int:
        """The rows of A; an offset and kept factors are not counted."""
        return self.a.shape[0]

    @property
    def merged_rank(self) -> int:
        """The rank of ``merged``, with which the layer is served."""
        own = self.rank if self.offset is None else 2 * self.rank
        return own + (0 if self.kept is None else self.kept.a.shape[0])

    @property
    def merged_alpha(self) -> float:
        """The ``alpha`` of ``merged``, if nothing is kept: an offset doubles the rank at the same scaling."""
        if self.offset is None:
            return self.alpha
        return self.alpha * (math.sqrt(2) if self.rank_scaled else 2)

    @property
    def scaling(self) -> float:
        """The factor s of ΔW."""
        return self.alpha / _divisor(self.rank, rank_scaled=self.rank_scaled)

    def forward(self, x_TI: torch.Tensor) -> torch.Tensor:
        """Return what to add to the layer's output, x·ΔWᵀ [T, O] in float32."""
        x_TI = x_TI.float()
        added_TO = (x_TI @ self.a.T) @ (self.b.T * self.scaling)
        if self.offset is not None:
            a_RI, b_OR = self.offset
            added_TO = added_TO - (x_TI @ a_RI.T) @ (b_OR.T * self.scaling)
        if self.kept is not None:
            added_TO = added_TO + (x_TI @ self.kept.a.T) @ (self.kept.b.T * self.kept.scaling)
        return added_TO

    def merged(self) -> "LoraLayer":
        """Return a layer with the same ΔW, no offset and nothing kept, whose rank is ``merged_rank``.

        With kept factors it has their scaling and begins with their rows, unchanged; the difference of the
        two scalings is multiplied into the other columns of B.
        """
        a_RI, b_OR, alpha = self.a.detach(), self.b.detach(), self.merged_alpha
        if self.offset is not None:
            a_RI = torch.cat([a_RI, self.offset[0]])
            b_OR = torch.cat([b_OR, -self.offset[1]], dim=1)
        if self.kept is not None:
            a_RI = torch.cat([self.kept.a, a_RI])
            b_OR = torch.cat([self.kept.b, b_OR * (self.scaling / self.kept.scaling)], dim=1)
            alpha = self.kept.scaling * _divisor(self.merged_rank, rank_scaled=self.rank_scaled)
        return LoraLayer(a_RI, b_OR, alpha=alpha, rank_scaled=self.rank_scaled)

    def split(self, rank: int, alpha: float) -> "LoraLayer":
        """Undo ``merged`` of kept factors of this rank: return the layer of the others with this ``alpha``.

        Its parameters are copies, and the first ``rank`` rows are gone.
        """
        own = LoraLayer(
            self.a.detach()[rank:].clone(),
            self.b.detach()[:, rank:].clone(),
            alpha=alpha,
            rank_scaled=self.rank_scaled,
        )
        with torch.no_grad():
            own.b *= self.scaling / own.scaling
        return own


def _divisor(rank: int, *, rank_scaled: bool) -> float:
    # Nothing is multiplied at rank 0, by whatever factor.
    return (math.sqrt(rank) if rank_scaled else rank) if rank else 1.0
