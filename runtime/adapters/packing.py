"""Between PEFT's directories and packed adapters: bit for bit, in both directions."""

from pathlib import Path

import torch
from safetensors.torch import load, save

from populace.actors.errors import AdapterInvalid, AdapterMismatch
from populace.adapters.base_modules import BaseModules
from populace.adapters.peft_directory import CONFIG_FILE, TENSOR_FILE, read_peft_directory, tensor_name
from populace.adapters.serving_image import NAMES, TYPES, matrix_bytes
from populace.storage.files import write_durably
from populace.storage.packed.adapter import PackedAdapter, pack_adapter
from populace.storage.packed.errors import PackedAdapterInvalid, PackedAdapterVersionMismatch
from populace.storage.packed.layout import Factor, Side

SIDES: tuple[Side, Side] = ("A", "B")


def pack_peft_directory(directory: Path, base: BaseModules, *, rank_max: int) -> bytearray:
    """Check a PEFT directory and pack it. Raises ``AdapterInvalid`` and ``AdapterMismatch``."""
    adapter = read_peft_directory(directory, base, rank_max=rank_max)
    tensors = load(adapter.tensor_file.read_bytes())
    factors: list[Factor] = []
    matrices: dict[tuple[str, Side], memoryview] = {}
    for module in adapter.modules:
        for side in SIDES:
            tensor = tensors[tensor_name(module, side)]
            tensor = tensor if side == "A" else tensor.T
            rows, columns = tensor.shape
            alpha = float(adapter.config.alpha_of(module))
            factors.append(Factor(module, side, (rows, columns), NAMES[tensor.dtype], alpha))
            matrices[module, side] = matrix_bytes(tensor)
    return pack_adapter(
        matrices,
        factors,
        base=base.fingerprint,
        config=adapter.config_bytes,
        rank_scaled=adapter.config.rank_scaled,
        metadata=adapter.metadata,
    )


def read_adapter(path: Path, base: BaseModules, *, rank_max: int) -> PackedAdapter:
    """Read a PEFT directory or a packed file, and check all of it against the base.

    Raises ``AdapterInvalid`` and ``AdapterMismatch``.
    """
    if not path.is_absolute():
        raise AdapterInvalid(f"its path {str(path)[:200]!r} is not absolute")
    try:
        if path.is_dir():
            return PackedAdapter(memoryview(pack_peft_directory(path, base, rank_max=rank_max)))
        packed = PackedAdapter.open(path)
        packed.verify()
    except (PackedAdapterInvalid, PackedAdapterVersionMismatch) as error:
        raise AdapterInvalid(f"{error}") from error
    check_packed_adapter(packed, base, rank_max=rank_max)
    return packed


def check_packed_adapter(packed: PackedAdapter, base: BaseModules, *, rank_max: int) -> None:
    """Check that the matrices are those of a LoRA adapter of this base.

    Raises ``AdapterInvalid`` and ``AdapterMismatch``.
    """
    if packed.base is not None and base.fingerprint is not None and packed.base != base.fingerprint:
        raise AdapterMismatch(f"it was made for the base {packed.base[:80]}, this is {base.fingerprint}")
    if packed.rank > rank_max:
        raise AdapterInvalid(f"its rank {packed.rank} is above this engine's limit of {rank_max}")
    ranks: dict[str, dict[str, int]] = {}
    for group in packed.groups:
        for factor, _ in group.factors():
            linear = base.linears.get(factor.module)
            if linear is None:
                raise AdapterMismatch(f"it was made for another base: this one has no layer {factor.module}")
            expected = (group.rank, linear.inputs if group.side == "A" else linear.outputs)
            if factor.shape != expected:
                raise AdapterMismatch(
                    f"it was made for another base: {factor.module} {group.side} should be {expected} "
                    f"and is {factor.shape}"
                )
            ranks.setdefault(factor.module, {})[group.side] = group.rank
    for module, of_sides in ranks.items():
        if set(of_sides) != set(SIDES) or len(set(of_sides.values())) > 1:
            raise AdapterInvalid(f"{module} has not an A and a B of one rank")


def unpack_to_peft_directory(packed: PackedAdapter, directory: Path) -> None:
    """Write the adapter as PEFT would: the configuration and tensors that it was packed from."""
    tensors: dict[str, torch.Tensor] = {}
    for factor, data in packed.factors():
        matrix = torch.frombuffer(bytearray(data), dtype=TYPES[factor.dtype]).view(factor.shape)
        tensors[tensor_name(factor.module, factor.side)] = (
            matrix if factor.side == "A" else matrix.T.contiguous()
        )
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(directory / TENSOR_FILE, save(tensors, dict(packed.metadata) or None))
    write_durably(directory / CONFIG_FILE, packed.config)
