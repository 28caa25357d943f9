# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# torch's norm is partly untyped.
"""The answer head of a gated module: it turns what all layers read into a change of the next token."""

import torch
from torch.nn import functional


class AnswerHead(torch.nn.Module):
    """Adds to the base's last hidden states, just before the output embeddings.

    An addition in an earlier layer would be transformed by all later layers and change the inputs of later
    reads; here every layer of the base computes as without a memory. Each token of an answer either repeats a
    value from the memory or is one of the words around it ("Your cat is called", "You have not told me"). As
    in a pointer-generator network (arXiv 1704.04368) a gate g weighs both::

        z = gelu(W [h; r; n] + b)          r: what the layers read, n: the norm of the values of each layer
        g = sigmoid(w h + u z + c)
        h' = h + g F r + (1 - g) (A z + a)     (F reads only the values of r)

    Shape suffixes: B = batch, T = tokens, H = hidden width and width of z, L = layers, W = what all states of
    a layer read: the values, then one number for each state.
    """

    def __init__(self, hidden: int, layers: int, width: int, states: int) -> None:
        """Make a head of zeros, which adds nothing. ``width`` is the width of a layer's values."""
        super().__init__()
        self.width = width
        self.mixed = torch.nn.Linear(hidden + layers * (width + states + 1), hidden)
        self.repeated = torch.nn.Linear(layers * width, hidden, bias=False)
        self.around = torch.nn.Linear(hidden, hidden)
        self.repeats = torch.nn.Linear(2 * hidden, 1)
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)

    def forward(self, hidden_BTH: torch.Tensor, read_BTLW: torch.Tensor) -> torch.Tensor:
        """Return what to add to the hidden states [B, T, H]."""
        return self.parts(hidden_BTH, read_BTLW)[0]

    def parts(self, hidden_BTH: torch.Tensor, read_BTLW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what to add, and the gate's logit [B, T]; above 0 the next token repeats a value."""
        hidden_BTH = hidden_BTH.float()
        values_BTLW = read_BTLW[..., : self.width]
        mixed_BTH = functional.gelu(
            self.mixed(torch.cat((hidden_BTH, read_BTLW.flatten(-2), values_BTLW.norm(dim=-1)), dim=-1))
        )
        opens_BT1 = self.repeats(torch.cat((hidden_BTH, mixed_BTH), dim=-1))
        gate_BT1 = torch.sigmoid(opens_BT1)
        added_BTH = gate_BT1 * self.repeated(values_BTLW.flatten(-2)) + (1 - gate_BT1) * self.around(
            mixed_BTH
        )
        return added_BTH, opens_BT1.squeeze(-1)
