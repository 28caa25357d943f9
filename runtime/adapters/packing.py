"""Between PEFT's directories and packed adapters: bit for bit, in both directions."""

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load, save

from populace.adapters.base_modules import BaseModules
from populace.adapters.peft_directory import CONFIG_FILE, TENSOR_FILE, read_peft_directory, tensor_name
from populace.storage.files import write_durably
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.layout import DType, Factor, Side

SIDES: tuple[Side, Side] = ("A", "B")
TYPES: dict[DType, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES: dict[torch.dtype, DType] = {dtype: name for name, dtype in TYPES.items()}


def pack_peft_directory(directory: Path, base: BaseModules, *, rank_max: int) -> bytearray:
    """Check a PEFT directory and pack it. Raises ``AdapterInvalid`` and ``AdapterMismatch``."""
    adapter = read_peft_directory(directory, base, rank_max=rank_max)
    tensors = load(adapter.tensor_file.read_bytes())
    factors: list[Factor] = []
    matrices: dict[tuple[str, Side], memoryview] = {}
    for module in adapter.modules:
        for side in SIDES:
            tensor = tensors[tensor_name(module, side)].contiguous()
            rows, columns = tensor.shape
            alpha = float(adapter.config.alpha_of(module))
            factors.append(Factor(module, side, (rows, columns), NAMES[tensor.dtype], alpha))
            matrices[module, side] = cast("Any", tensor.view(torch.uint8).numpy()).data.cast("B")
    return pack_adapter(
        matrices,
        factors,
        base=base.fingerprint,
        config=adapter.config_bytes,
        rank_scaled=adapter.config.rank_scaled,
        metadata=adapter.metadata,
    )


def unpack_to_peft_directory(packed: PackedAdapter, directory: Path) -> None:
    """Write the adapter as PEFT would: the configuration and tensors that it was packed from."""
    tensors = {
        tensor_name(factor.module, factor.side): torch.frombuffer(
            bytearray(data), dtype=TYPES[factor.dtype]
        ).view(factor.shape)
        for factor, data in packed.factors()
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(directory / TENSOR_FILE, save(tensors, dict(packed.metadata) or None))
    write_durably(directory / CONFIG_FILE, packed.config)
