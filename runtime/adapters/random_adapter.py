# pyright: reportUnknownVariableType=false
# safetensors' save_file is untyped.
"""Adapters with random weights, for tests, examples and measurements."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from populace.adapters.base_modules import BaseModules, LinearShape, read_base_modules
from populace.adapters.peft_config import write_peft_config
from populace.adapters.peft_directory import CONFIG_FILE, FINGERPRINT_KEY, TENSOR_FILE
from populace.adapters.serving_image import matrix_bytes, serving_image
from populace.adapters.tensor_file import tensor_name
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.layout import Factor, Side

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def write_random_adapter(
    directory: Path,
    base_directory: Path,
    *,
    seed: int,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Sequence[str] = ATTENTION,
    scale: float = 0.1,
    fingerprint: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a valid PEFT directory whose weights depend on ``seed`` alone, and return its path.

    A is uniform as in a new adapter. B is normal with standard deviation ``scale``, not zero: with the
    default the greedy replies of SmolLM2-135M differ from the base's and are still language.
    """
    linears = {
        name: shape
        for name, shape in read_base_modules(base_directory).linears.items()
        if name.rsplit(".", 1)[-1] in targets
    }
    directory.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"} | ({} if fingerprint is None else {FINGERPRINT_KEY: fingerprint})
    tensors = {name: tensor.to(dtype) for name, tensor in _random_tensors(linears, seed, rank, scale).items()}
    save_file(tensors, directory / TENSOR_FILE, metadata)
    (directory / CONFIG_FILE).write_bytes(write_peft_config(rank, alpha, targets))
    return directory


def pack_random_adapter(
    base: BaseModules, *, seed: int, rank: int = 1, targets: Sequence[str] = ("q_proj", "v_proj")
) -> bytearray:
    """Make a packed adapter in bfloat16 whose weights depend on ``seed`` alone, in 2 ms."""
    generator = torch.Generator().manual_seed(seed)
    factors: list[Factor] = []
    matrices: dict[tuple[str, Side], memoryview] = {}
    for module, shape in base.linears.items():
        if module.rsplit(".", 1)[-1] in targets:
            sides: tuple[tuple[Side, int], ...] = (("A", shape.inputs), ("B", shape.outputs))
            for side, length in sides:
                matrix = torch.randn(rank, length, generator=generator) / math.sqrt(length)
                factors.append(Factor(module, side, (rank, length), "BF16", float(rank)))
                matrices[module, side] = matrix_bytes(matrix.to(torch.bfloat16))
    config = write_peft_config(rank, rank, targets)
    return pack_adapter(matrices, factors, base=base.fingerprint, config=config)


def random_image(base: BaseModules, dtype: torch.dtype, *, seed: int) -> bytearray | memoryview:
    """Make the serving image of an adapter of rank 1 of all linear layers."""
    packed = pack_random_adapter(base, seed=seed, targets=base.targets)
    return serving_image(PackedAdapter(memoryview(packed)), dtype)


def _random_tensors(
    linears: dict[str, LinearShape], seed: int, rank: int, scale: float
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in linears.items():
        bound = 1 / math.sqrt(shape.inputs)
        a = torch.rand(rank, shape.inputs, generator=generator) * 2 * bound - bound
        b = torch.randn(shape.outputs, rank, generator=generator) * scale
        tensors[tensor_name(name, "A")] = a
        tensors[tensor_name(name, "B")] = b
    return tensors
