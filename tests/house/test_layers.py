"""Imports go down only, and each heavy library comes in through its own door."""

from collections.abc import Mapping

import pytest

from tests.house.source_tree import FLOORS, Module, imported_names, modules

MODEL_ROOMS = (
    "runtime/adapters/",
    "runtime/bench/",
    "runtime/engines/",
    "runtime/learning/",
    "runtime/base/",
)
DOORS: Mapping[str, tuple[str, ...]] = {
    "bm25s": ("actors/keepers/log_index.py",),
    "lmdb": ("storage/shards/shard.py", "storage/shards/pages.py"),
    "vllm": ("runtime/engines/vllm_", "runtime/bench/vllm_stock.py"),
    "ray": ("runtime/",),
    "torch": MODEL_ROOMS,
    "peft": MODEL_ROOMS,
    "transformers": MODEL_ROOMS,
    "numba": (
        "runtime/engines/kernels/compiled.py",
        "runtime/engines/vllm_memory/compiled.py",
        "runtime/engines/vllm_lora/compiled.py",
    ),
    "faker": ("runtime/learning/memory/values.py",),
    "fastapi": ("runtime/gateway/",),
    "starlette": ("runtime/gateway/",),
}
ENVIRONMENT_DOORS = (
    "runtime/settings/",
    "runtime/engines/vllm_environment.py",  # lends variables to vLLM's start, parses none
)


def room_of(imported: str) -> str:
    """Name the room that a ``populace.…`` import leads to."""
    second = imported.split(".")[1] if "." in imported else ""
    return second if second in FLOORS else "runtime"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_a_module_imports_only_from_its_own_room_or_a_lower_floor(module: Module) -> None:
    rooms = {room_of(name) for name in imported_names(module.tree) if name.split(".")[0] == "populace"}

    too_high = {room for room in rooms if room != module.room and FLOORS[room] >= FLOORS[module.room]}
    assert too_high == set()


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_a_module_imports_by_absolute_names_under_populace(module: Module) -> None:
    stray = [
        name for name in imported_names(module.tree) if name.startswith(".") or name.split(".")[0] in FLOORS
    ]

    assert stray == []


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_a_heavy_library_is_imported_only_behind_its_door(module: Module) -> None:
    libraries = {name.split(".")[0] for name in imported_names(module.tree)}

    misplaced = {name for name in libraries if name in DOORS and not module.path.startswith(DOORS[name])}
    assert misplaced == set()


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_the_environment_is_read_only_by_the_settings(module: Module) -> None:
    reads = {name for name in imported_names(module.tree) if name in ("os.environ", "os.getenv")}
    reads |= set(module.attributes) & {"os.environ", "os.getenv"}

    assert module.path in ENVIRONMENT_DOORS or reads == set()
