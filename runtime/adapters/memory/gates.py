"""The two gates of a memory, which decide what is written and when a reply reads.

Unlike the published rule (``layer.py``, ``scan.py``), a gated module reads and writes only where a gate is
open. Both gates are computed in its first layer, before anything is read:

* A **reply** reads the memory if the read gate is open at the last token of its prompt. Then that token and
  the tokens of the reply read, in all layers with a memory. What they read changes the last hidden states
  only (``answer_head.py``), so the keys and values of the base do not depend on the memory. With a closed
  gate every output is the base's.
* A **message** of the person is written if the write gate is open at its last token: all its tokens but that
  one, since a prompt's last token reads and what is written must depend on the text alone. Replies and other
  roles are never written.

An empty memory is never read.

Shape suffixes: H = hidden width.
"""

import torch


class Gates(torch.nn.Module):
    """Two linear gates on the input of the first layer with a memory; a gate with a logit above 0 is open."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read_weight = torch.nn.Parameter(torch.zeros(hidden))
        self.read_bias = torch.nn.Parameter(torch.zeros(1))
        self.write_weight = torch.nn.Parameter(torch.zeros(hidden))
        self.write_bias = torch.nn.Parameter(torch.zeros(1))

    def read(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits [...] of the read gate for inputs [..., H]."""
        return hidden.float() @ self.read_weight + self.read_bias

    def write(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits [...] of the write gate for inputs [..., H]."""
        return hidden.float() @ self.write_weight + self.write_bias
