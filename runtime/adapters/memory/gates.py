"""What makes a memory leave alone what is none of its business: two gates.

A gated module differs from the published rule (``layer.py``, ``scan.py``) in where it is used, and that
is all decided in its first layer, before anything of the memory is read:

* A **reply** reads the memory if the read gate opens at the last token of its prompt; then that token and
  the reply's read it, in all layers that have a memory. What they read goes to the last hidden states
  alone (``answer_head.py``), so every key and value of the base is its own whatever the memory holds. With
  a closed gate every number is the base's own.
* A **message** of the person is written if the write gate opens at its last token, all but that token: it
  may be the one that a reply reads with, and what is written depends on the text alone. Replies and what
  others say are not the person's word, and never written.

An empty memory is not read at all.

Shape suffixes: H = hidden width.
"""

import torch


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
