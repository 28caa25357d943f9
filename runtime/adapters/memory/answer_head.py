# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# torch's norm is partly untyped.
"""The head of a gated memory: what an answer says next, from what all layers read."""

import torch
from torch.nn import functional


class AnswerHead(torch.nn.Module):
    """Adds to the base's last hidden state, just before its output embeddings.

    What passes through many layers on its way to the next token is bent by each, and changes the inputs of
    later queries. So what was told is said again by the shortest way, and the layers stay the base's own. A
    token of an answer is either one to be repeated, or one of the words around it ("Your cat is called", "You
    have not told me"). As in a pointer-generator network (arXiv 1704.04368) a gate weighs both::

        z = gelu(W [h; r; n] + b)          r: what the layers read, n: the length of what each layer read
        g = sigmoid(w h + u z + c)
        h' = h + g F r + (1 - g) (A z + a)     (F of the values alone)

    Shape suffixes: B = batch, T = tokens, H = hidden width (z has it too), L = layers, W = what all states of
    a layer read.
    """

    def __init__(self, hidden: int, layers: int, width: int, states: int) -> None:
        """All zeros: it adds nothing."""
        super().__init__()
        self.width = width
        self.mixed = torch.nn.Linear(hidden + layers * (width + states + 1), hidden)
        self.repeated = torch.nn.Linear(layers * width, hidden, bias=False)
        self.around = torch.nn.Linear(hidden, hidden)
        self.repeats = torch.nn.Linear(2 * hidden, 1)
        for parameter in self.parameters():
            torch.nn.init.zeros_(parameter)

    def forward(self, hidden_BTH: torch.Tensor, read_BTLW: torch.Tensor) -> torch.Tensor:
        """Return what to add to the hidden states."""
        return self.parts(hidden_BTH, read_BTLW)[0]

    def parts(self, hidden_BTH: torch.Tensor, read_BTLW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same, and the gate's input [B, T]: above 0 the next token is to be repeated."""
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
