"""What makes a memory leave alone what is none of its business: two gates, and a head for what it knows.

A gated module differs from the published rule (``layer.py``, ``scan.py``) in where it is used, and that
is all decided in its first layer, before anything of the memory is read:

* A **reply** reads the memory if the read gate opens at the last token of its prompt; then that token and
  the reply's read it, in all layers from the first. Otherwise every number is the base's own. Prompts
  never read, so their keys and values are the base's whatever the memory holds.
* A **message** of the person is written if the write gate opens at its last token, all but that token: it
  may be the one that a reply reads with, and what is written depends on the text alone. Replies and what
  others say are not the person's word, and never written.

An empty memory is not read at all.

Shape suffixes: B = batch, T = tokens, H = hidden width, W = what all states of a layer read, L = layers.
"""

import torch
from torch.nn import functional


class Gates(torch.nn.Module):
    """Two linear gates on the input of the first layer with a memory; open above 0."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read_weight = torch.nn.Parameter(torch.zeros(hidden))
        self.read_bias = torch.nn.Parameter(torch.zeros(1))
        self.write_weight = torch.nn.Parameter(torch.zeros(hidden))
        self.write_bias = torch.nn.Parameter(torch.zeros(1))

    def read(self, hidden: torch.Tensor) -> torch.Tensor:
        """Say [...] how far the gate for reading is open for each input [..., H]: above 0 it is."""
        return hidden.float() @ self.read_weight + self.read_bias

    def write(self, hidden: torch.Tensor) -> torch.Tensor:
        """Say the same of the gate for writing."""
        return hidden.float() @ self.write_weight + self.write_bias


class RecallHead(torch.nn.Module):
    """Adds what all layers read to the base's last hidden state, just before its output embeddings.

    What passes through many layers on its way to the next token is bent by each. What was told in so many
    words is repeated by the shortest way: as in a pointer network (arXiv 1506.03134), with a gate for each
    token that says whether it is one to be repeated::

        h' = h + sigmoid(w h + b) W_f [r_1; ...; r_L]
    """

    def __init__(self, hidden: int, read: int) -> None:
        """``read`` is the width of what all layers read together."""
        super().__init__()
        self.output = torch.nn.Parameter(torch.zeros(hidden, read))
        self.weight = torch.nn.Parameter(torch.zeros(hidden))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, hidden_BTH: torch.Tensor, read_BTLW: torch.Tensor) -> torch.Tensor:
        """Return what to add to the hidden states."""
        open_BT1 = torch.sigmoid(hidden_BTH.float() @ self.weight + self.bias).unsqueeze(-1)
        return open_BT1 * functional.linear(read_BTLW.flatten(-2), self.output)
