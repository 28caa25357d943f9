"""The parameters of a LoRA adapter in one linear layer.

Shape suffixes: T = tokens, I = the layer's inputs, O = its outputs, R = rank.
"""

import math

import torch


class LoraLayer(torch.nn.Module):
    """The factors A [R, I] and B [O, R] in float32: ΔW = s (B·A − B₀·A₀).

    s is ``alpha`` / √R if ``rank_scaled``, else ``alpha`` / R. ``offset`` holds the constants A₀ and B₀ of
    ``initial.py``; without it the subtracted term is 0.
    """

    def __init__(
        self,
        a_RI: torch.Tensor,
        b_OR: torch.Tensor,
        *,
        alpha: float,
        rank_scaled: bool,
        offset: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        # Contiguous, as after loading from a file: products of matrices with other strides round differently.
        self.a = torch.nn.Parameter(a_RI.contiguous())
        self.b = torch.nn.Parameter(b_OR.contiguous())
        self.alpha = alpha
        self.rank_scaled = rank_scaled
        self.offset = None if offset is None else (offset[0].contiguous(), offset[1].contiguous())

    @property
    def rank(self) -> int:
        """The rows of A; an offset is not counted."""
        return self.a.shape[0]

    @property
    def scaling(self) -> float:
        """The factor s of ΔW."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_scaled else self.rank)

    def forward(self, x_TI: torch.Tensor) -> torch.Tensor:
        """Return what to add to the layer's output, x·ΔWᵀ [T, O] in float32."""
        x_TI = x_TI.float()
        added_TO = (x_TI @ self.a.T) @ (self.b.T * self.scaling)
        if self.offset is None:
            return added_TO
        a_RI, b_OR = self.offset
        return added_TO - (x_TI @ a_RI.T) @ (b_OR.T * self.scaling)

    def merged(self) -> "LoraLayer":
        """Return a layer with the same ΔW and no offset; its rank is doubled if there was one."""
        a_RI, b_OR, alpha = self.a.detach(), self.b.detach(), self.alpha
        if self.offset is not None:
            a_RI = torch.cat([a_RI, self.offset[0]])
            b_OR = torch.cat([b_OR, -self.offset[1]], dim=1)
            alpha *= math.sqrt(2) if self.rank_scaled else 2
        return LoraLayer(a_RI, b_OR, alpha=alpha, rank_scaled=self.rank_scaled)
