"""On GPUs a memory module is attached only if it is asked for, and its cost is said either way."""

from pathlib import Path

import pytest

from populace.actors.engine import BaseInfo
from populace.adapters.memory.state import StateFormat
from populace.base.memory_module import MemoryModuleFile
from populace.base.prepare import BaseModelFiles
from populace.cluster.engine_plan import WITH_MEMORY, WITHOUT_MEMORY, memory_on_gpus
from populace.cluster.store_side import StoreSide
from populace.settings.settings import Settings
from populace.telemetry.options import TelemetryOptions

DIGEST = "d" * 64


def side(tmp_path: Path, named: str | None) -> StoreSide:
    return StoreSide(
        Settings(memory_module=named),
        "http://127.0.0.1:8000",
        "store",
        8,
        BaseModelFiles(tmp_path, "base", "f" * 64, 2048),
        BaseInfo("base", "f" * 64, 2048, DIGEST),
        MemoryModuleFile(tmp_path / "module", DIGEST, StateFormat(DIGEST, 1, 1, 8)),
        None,
        TelemetryOptions(tmp_path, b"key"),
    )


def test_a_module_that_no_setting_names_is_left_out(tmp_path: Path) -> None:
    told: list[str] = []

    found = memory_on_gpus(side(tmp_path, None), told.append)

    assert (found.memory, found.info.memory_module) == (None, None)
    assert told == [WITHOUT_MEMORY]
    assert "POPULACE_MEMORY_MODULE=shipped" in WITHOUT_MEMORY


@pytest.mark.parametrize("named", ["shipped", "module.safetensors"])
def test_a_module_that_is_asked_for_is_attached(tmp_path: Path, named: str) -> None:
    told: list[str] = []
    asked = side(tmp_path, named)

    assert memory_on_gpus(asked, told.append) == asked
    assert told == [WITH_MEMORY]
