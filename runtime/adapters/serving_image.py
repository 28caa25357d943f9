"""Serving images: packed adapters in the base's data type, which engine workers map into memory.

A worker only looks up where each matrix begins; it converts nothing.
"""

import warnings
from typing import Any, cast

import torch

from populace.storage.packed.adapter import PackedAdapter, retyped_adapter
from populace.storage.packed.layout import DType, Group

TYPES: dict[DType, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES: dict[torch.dtype, DType] = {dtype: name for name, dtype in TYPES.items()}


def serving_image(adapter: PackedAdapter, dtype: torch.dtype) -> bytearray | memoryview:
    """Return the image of an adapter for a base of this type; one that already has the type is not copied."""
    if all(TYPES[group.dtype] is dtype for group in adapter.groups):
        return adapter.data
    return retyped_adapter(
        adapter, NAMES[dtype], lambda group: matrix_bytes(group_tensor(adapter, group).to(dtype))
    )


def matrix_bytes(matrix: torch.Tensor) -> memoryview:
    """Return the bytes of a matrix of any type in row-major order, copied only if it is not contiguous."""
    return cast("Any", matrix.contiguous().view(torch.uint8).numpy()).data.cast("B")


def group_tensor(adapter: PackedAdapter, group: Group) -> torch.Tensor:
    """View a group's matrices as a tensor [.., rows, columns] without a copy. It must not be written to."""
    with warnings.catch_warnings():
        # torch warns of read-only bytes, as it has no read-only tensors.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        flat = torch.frombuffer(adapter.group_bytes(group), dtype=TYPES[group.dtype])
    return flat.view(*map(len, group.numbers), *group.shape)
