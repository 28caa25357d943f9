"""A serving image: a packed adapter in the base's type, as an engine reads it.

A worker maps it and needs no more than to know where each matrix begins.
"""

import warnings
from typing import Any, cast

import torch

from populace.storage.packed.adapter import PackedAdapter, retyped_adapter
from populace.storage.packed.layout import DType, Group

TYPES: dict[DType, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES: dict[torch.dtype, DType] = {dtype: name for name, dtype in TYPES.items()}


def serving_image(adapter: PackedAdapter, dtype: torch.dtype) -> bytearray | memoryview:
    """Make the image for a base of this type; an adapter that has it is its own."""
    if all(TYPES[group.dtype] is dtype for group in adapter.groups):
        return adapter.data
    return retyped_adapter(
        adapter, NAMES[dtype], lambda group: matrix_bytes(group_tensor(adapter, group).to(dtype))
    )


def matrix_bytes(matrix: torch.Tensor) -> memoryview:
    """The bytes of a matrix of any type, row after row; a copy only if they do not lie so."""
    return cast("Any", matrix.contiguous().view(torch.uint8).numpy()).data.cast("B")


def group_tensor(adapter: PackedAdapter, group: Group) -> torch.Tensor:
    """View a group's matrices as a tensor [.., rows, columns], without a copy. It must not be written to."""
    with warnings.catch_warnings():
        # The bytes are read-only, which torch has no word for.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        flat = torch.frombuffer(adapter.group_bytes(group), dtype=TYPES[group.dtype])
    return flat.view(*map(len, group.numbers), *group.shape)
