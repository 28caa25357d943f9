# pyright: reportUnknownVariableType=false
# safetensors' functions are partly untyped.
"""A random adapter on a mixture-of-experts model, which has tens of thousands of tensors."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from populace.adapters.base_modules import LinearShape
from populace.adapters.serving_image import matrix_bytes
from populace.adapters.tensor_file import tensor_name
from populace.storage.packed.adapter import pack_adapter
from populace.storage.packed.layout import Factor, Side

HIDDEN = 2048
EXPERT_HIDDEN = 768
QUERY, KEY_VALUE = 4096, 512
"""The widths of Qwen3-30B-A3B."""


def expert_linears(layers: int, experts: int) -> dict[str, LinearShape]:
    """Return the linear layers by name of such a model with ``layers`` layers of ``experts`` experts each."""
    attention = {
        "q": LinearShape(QUERY, HIDDEN),
        "k": LinearShape(KEY_VALUE, HIDDEN),
        "v": LinearShape(KEY_VALUE, HIDDEN),
        "o": LinearShape(HIDDEN, QUERY),
    }
    wide, narrow = LinearShape(EXPERT_HIDDEN, HIDDEN), LinearShape(HIDDEN, EXPERT_HIDDEN)
    linears: dict[str, LinearShape] = {}
    for layer in range(layers):
        for name, shape in attention.items():
            linears[f"model.layers.{layer}.self_attn.{name}_proj"] = shape
        for expert in range(experts):
            for name, shape in (("gate", wide), ("up", wide), ("down", narrow)):
                linears[f"model.layers.{layer}.mlp.experts.{expert}.{name}_proj"] = shape
    return linears


def write_expert_adapter(tensor_file: Path, packed: Path, linears: Mapping[str, LinearShape]) -> None:
    """Write one adapter of rank 1 in bfloat16 on these layers twice: as PEFT's tensors, and packed."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    factors: list[Factor] = []
    matrices: dict[tuple[str, Side], memoryview] = {}
    for module, shape in linears.items():
        sides: tuple[tuple[Side, int], ...] = (("A", shape.inputs), ("B", shape.outputs))
        for side, length in sides:
            row = torch.randn(1, length, generator=generator).to(torch.bfloat16)
            tensors[tensor_name(module, side)] = row if side == "A" else row.T.contiguous()
            factors.append(Factor(module, side, (1, length), "BF16", 1.0))
            matrices[module, side] = matrix_bytes(row)
    save_file(tensors, tensor_file)
    packed.write_bytes(pack_adapter(matrices, factors, base=None, config=b"{}"))
