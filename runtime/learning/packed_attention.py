# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' attention interface and torch's split are untyped.
"""Causal attention over sequences that are packed into one row; each sequence attends to itself alone.

Everything else in a transformer works token by token, so only attention needs a padded batch. The padding is
on the right, where causal attention does not look.

Shape suffixes: B = sequences, H = heads, N = tokens of the row, T = tokens of the longest sequence, D = head
width.
"""

from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from transformers import AttentionInterface

PACKED = "populace_packed"
"""The ``attn_implementation`` of transformers that selects it; the model is then called with ``lengths``."""


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
    """Return the attention output [1, N, H, D] and no weights, as transformers expects it.

    ``lengths`` has the tokens of each sequence and sums to N. Masks and dropout are not supported.
    """
    assert attention_mask is None
    assert dropout == 0
    places = _places(lengths, query_1HND.device)
    query_BHTD, key_BHTD, value_BHTD = (_padded(row, places) for row in (query_1HND, key_1HND, value_1HND))
    if query_1HND.device.type == "cpu":
        # torch's CPU kernel takes 2.2 times as long in bfloat16, mostly in the backward pass.
        query_BHTD, key_BHTD, value_BHTD = query_BHTD.float(), key_BHTD.float(), value_BHTD.float()
    mixed_BHTD = functional.scaled_dot_product_attention(
        query_BHTD,
        key_BHTD,
        value_BHTD,
        is_causal=True,
        scale=scaling,
        enable_gqa=query_1HND.shape[1] != key_1HND.shape[1],
    ).to(query_1HND.dtype)
    # One gather, as the gradient of a slice for each sequence would be as large as the whole batch.
    return mixed_BHTD.transpose(1, 2).flatten(0, 1).index_select(0, places.kept)[None], None


class _Places(NamedTuple):
    """Indices: ``padded`` [B, T] from the padded batch into the row, ``kept`` [N] from the row into it."""

    padded: torch.Tensor
    kept: torch.Tensor


@lru_cache(maxsize=8)
def _places(lengths: tuple[int, ...], device: torch.device) -> _Places:
    """Map row to padded batch and back. Padding repeats the last token of a sequence and is never read."""
    longest = max(lengths)
    starts = list(accumulate(lengths, initial=0))
    padded = [
        [start + min(at, length - 1) for at in range(longest)]
        for start, length in zip(starts, lengths, strict=False)
    ]
    kept = [number * longest + at for number, length in enumerate(lengths) for at in range(length)]
    return _Places(torch.tensor(padded, device=device), torch.tensor(kept, device=device))


def _padded(row_1HND: torch.Tensor, places: _Places) -> torch.Tensor:
    """Gather [1, H, N, D] into the padded batch [B, H, T, D]."""
    batch, longest = places.padded.shape
    tokens = row_1HND[0].transpose(0, 1).index_select(0, places.padded.flatten())
    return tokens.unflatten(0, (batch, longest)).transpose(1, 2)


AttentionInterface.register(PACKED, packed_attention)
