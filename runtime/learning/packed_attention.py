# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' attention interface and torch's split are untyped.
"""Attention over sequences that lie in one row, each of which sees itself alone.

Everything else in a transformer works token by token, so that only here does a batch of sequences of
different lengths become a padded one: on the right, where causal attention does not look.

Shape suffixes: B = sequences, H = heads, N = tokens of the row, T = tokens of the longest sequence, D = head
width.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

PACKED = "populace_packed"
"""The name by which a model of transformers is told to use it. The sequences' lengths come as ``lengths``."""


def packed_attention(
    module: torch.nn.Module,
    query_1HND: torch.Tensor,
    key_1HND: torch.Tensor,
    value_1HND: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    lengths: tuple[int, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Answer [1, N, H, D]. ``attention_mask`` and ``dropout`` are transformers' and must not be used."""
    assert attention_mask is None
    assert dropout == 0
    mixed_BHTD = functional.scaled_dot_product_attention(
        _padded(query_1HND, lengths),
        _padded(key_1HND, lengths),
        _padded(value_1HND, lengths),
        is_causal=True,
        scale=scaling,
        enable_gqa=query_1HND.shape[1] != key_1HND.shape[1],
    )
    rows = [mixed_BHTD[number, :, :length] for number, length in enumerate(lengths)]
    return torch.cat(rows, dim=1).transpose(0, 1)[None], None


def _padded(row_1HND: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """[1, H, N, D] to [B, H, T, D], with zeros after the shorter ones."""
    longest = max(lengths)
    parts = row_1HND[0].split(lengths, dim=1)
    return torch.stack([functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])


AttentionInterface.register(PACKED, packed_attention)
