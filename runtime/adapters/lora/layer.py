"""One layer of an adapter as parameters.

Shape suffixes: T = tokens, I = the layer's inputs, O = its outputs, R = rank.
"""

import math

import torch


class LoraLayer(torch.nn.Module):
    """A [R, I] and B [O, R] in float32, with what is taken off their product for ever, if anything is.

    The product counts ``alpha`` / √R if it is ``rank_scaled``, else ``alpha`` / R.
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
        # Contiguous, as they come back from a file: a product of other strides has other bits.
        self.a = torch.nn.Parameter(a_RI.contiguous())
        self.b = torch.nn.Parameter(b_OR.contiguous())
        self.alpha = alpha
        self.rank_scaled = rank_scaled
        self.offset = None if offset is None else (offset[0].contiguous(), offset[1].contiguous())

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def scaling(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rank_scaled else self.rank)

    def forward(self, x_TI: torch.Tensor) -> torch.Tensor:
        """What the layer's output changes by: [T, O] in float32."""
        x_TI = x_TI.float()
        added_TO = (x_TI @ self.a.T) @ (self.b.T * self.scaling)
        if self.offset is None:
            return added_TO
        a_RI, b_OR = self.offset
        return added_TO - (x_TI @ a_RI.T) @ (b_OR.T * self.scaling)

    def merged(self) -> "LoraLayer":
        """The same change by factors that have no offset: of twice the rank if there is one."""
        a_RI, b_OR, alpha = self.a.detach(), self.b.detach(), self.alpha
        if self.offset is not None:
            a_RI = torch.cat([a_RI, self.offset[0]])
            b_OR = torch.cat([b_OR, -self.offset[1]], dim=1)
            alpha *= math.sqrt(2) if self.rank_scaled else 2
        return LoraLayer(a_RI, b_OR, alpha=alpha, rank_scaled=self.rank_scaled)
