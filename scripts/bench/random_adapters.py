"""Random adapters for a bench, as PEFT directories and as packed files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from populace.adapters.base_modules import BaseModules
from populace.adapters.packing import pack_peft_directory
from populace.adapters.random_adapter import write_random_adapter
from populace.adapters.serving_image import TYPES
from populace.storage.packed.layout import DType


class RandomAdapters(NamedTuple):
    """The same adapters, in the same order, as PEFT directories and as a store's packed files."""

    directories: tuple[Path, ...]
    packed: tuple[Path, ...]


def write_random_adapters(
    folder: Path, base_directory: Path, modules: BaseModules, ranks: Sequence[int], dtype: DType = "F32"
) -> RandomAdapters:
    """Write an adapter for each of ``ranks`` on all linear layers. F32 is the type that PEFT trains in."""
    directories = tuple(
        write_random_adapter(
            folder / str(number),
            base_directory,
            seed=number,
            rank=rank,
            targets=modules.targets,
            dtype=TYPES[dtype],
        )
        for number, rank in enumerate(ranks)
    )
    packed: list[Path] = []
    for directory in directories:
        packed.append(directory.with_suffix(".adapter"))
        packed[-1].write_bytes(pack_peft_directory(directory, modules, rank_max=max(ranks)))
    return RandomAdapters(directories, tuple(packed))
