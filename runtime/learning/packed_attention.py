# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' attention interface and torch's split are untyped.
"""Causal attention over sequences that are packed into one row; each sequence attends to itself alone.

Everything else in a transformer works token by token, so only attention needs a padded batch. The padding is
on the right, where causal attention does not look. Sequences may share tokens of the row at their beginning.

Shape suffixes: B = sequences, H = heads, N = tokens of the row, T = tokens of the longest sequence, D = head
width.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple, Self

import torch
from torch.nn import functional
from transformers import AttentionInterface

PACKED = "populace_packed"
"""The ``attn_implementation`` of transformers that selects it; the model is then called with ``packing``."""


STRETCH_MAX = 1.25
"""The longest sequence of a padded batch has at most this many times the tokens of its shortest one.

A step has many short replies and a few whole ones; in one batch these made attention a third of its time.
"""


class Packing(NamedTuple):
    """Indices between a row and the padded batches that attention works on, of sequences of like lengths.

    ``batches`` are [B, T] from each batch into the row, ``kept`` is [N] from the row into all batches, one
    after the other.
    """

    batches: Sequence[torch.Tensor]
    kept: torch.Tensor

    @classmethod
    def of(cls, paths: Sequence[Sequence[int]], tokens: int, device: torch.device) -> Self:
        """Map a row of ``tokens`` to padded batches and back.

        ``paths`` has the places in the row of each sequence's tokens, and each place is in one of them at
        least. Padding repeats the last token of a sequence and is never read.
        """
        batches: list[torch.Tensor] = []
        kept, begin = [0] * tokens, 0
        for batch in _alike(paths):
            longest = len(batch[-1])
            padded = [[*path, *repeat(path[-1], longest - len(path))] for path in batch]
            batches.append(torch.tensor(padded, device=device))
            for path in batch:
                # A shared token comes out alike of all sequences that have it.
                for at, place in enumerate(path):
                    kept[place] = begin + at
                begin += longest
        return cls(batches, torch.tensor(kept, device=device))


def _alike(paths: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Group the paths by their lengths; the groups and the paths of each are in the order of lengths."""
    groups: list[list[Sequence[int]]] = []
    for path in sorted(paths, key=len):
        if groups and len(path) <= STRETCH_MAX * len(groups[-1][0]):
            groups[-1].append(path)
        else:
            groups.append([path])
    return groups


def packed_attention(
    module: torch.nn.Module,
    query_1HND: torch.Tensor,
    key_1HND: torch.Tensor,
    value_1HND: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention output [1, N, H, D] and no weights, as transformers expects it.

    With a ``sliding_window`` a token sees that many tokens, of which it is the last. Masks, dropout and
    capped scores are not supported.
    """
    assert attention_mask is None
    assert dropout == 0
    assert softcap is None
    # In float32 from here on: the gradient of a token that many sequences share is a sum, which bfloat16
    # would round at each of them.
    rows_NHD = [row[0].transpose(0, 1).float() for row in (query_1HND, key_1HND, value_1HND)]
    # On the CPU torch's kernel takes 2.2 times as long in bfloat16, mostly in the backward pass.
    kernel_dtype = torch.float32 if query_1HND.device.type == "cpu" else query_1HND.dtype
    mixed: list[torch.Tensor] = []
    for places_BT in packing.batches:
        query_BHTD, key_BHTD, value_BHTD = (
            row_NHD.index_select(0, places_BT.flatten())
            .unflatten(0, places_BT.shape)
            .transpose(1, 2)
            .to(kernel_dtype)
            for row_NHD in rows_NHD
        )
        seen_TT = _window(places_BT, sliding_window)
        mixed_BHTD = functional.scaled_dot_product_attention(
            query_BHTD,
            key_BHTD,
            value_BHTD,
            attn_mask=seen_TT,
            is_causal=seen_TT is None,
            scale=scaling,
            enable_gqa=query_1HND.shape[1] != key_1HND.shape[1],
        )
        mixed.append(mixed_BHTD.transpose(1, 2).flatten(0, 1))
    # One gather, as the gradient of a slice for each sequence would be as large as the whole batch.
    return torch.cat(mixed).index_select(0, packing.kept)[None].to(query_1HND.dtype), None


def _window(places_BT: torch.Tensor, size: int | None) -> torch.Tensor | None:
    """Return which tokens [T, T] each token sees, None if that is all before it."""
    tokens = places_BT.shape[1]
    if size is None or size >= tokens:
        return None
    before_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=places_BT.device).tril()
    return before_TT.triu(1 - size)


AttentionInterface.register(PACKED, packed_attention)
