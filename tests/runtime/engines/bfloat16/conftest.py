"""Both engines on a tiny base in bfloat16 with a loud memory, started once for all tests of this folder."""

import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple, cast

import pytest
import pytest_asyncio

from populace.actors.engine import EngineStatistics, HeldAdapters, OwnedEngine
from populace.engines.options import EngineOptions
from populace.engines.vllm_engine import VllmEngine
from populace.telemetry.tracing.spans import TRACER
from scripts.bench.random_module import random_module
from tests.runtime.engines.engines_under_test import both_engines
from tests.runtime.telemetry.recorded import recording
from tests.small_base import make_small_base

SLOTS = 8
WARM_BYTES_MAX = 800_000


class Started(NamedTuple):
    """What vLLM's start did, and what was left of it before anybody asked for anything."""

    spans: list[str]
    statistics: EngineStatistics
    held: HeldAdapters
    files: list[str]


@pytest.fixture(scope="package")
def base_directory(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base"), base_files)


@pytest.fixture(scope="package")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A directory for temporary files whose name is too long for that of a socket."""
    folder = tmp_path_factory.mktemp("a" * 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def both(
    base_directory: Path, scratch: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[tuple[dict[str, OwnedEngine], Started]]:
    module = tmp_path_factory.mktemp("memory") / "module"
    module.write_bytes(random_module(base_directory, "f" * 64, strength=60.0).pack())
    options = EngineOptions(
        base_directory,
        "f" * 64,
        context_tokens=256,
        adapter_slots=SLOTS,
        warm_bytes_max=WARM_BYTES_MAX,
        memory_module=module,
    )
    async with AsyncExitStack() as stack:
        with recording() as spans:
            with TRACER.root("start"):
                engines = await stack.enter_async_context(both_engines(options))
            names = [span.name for span in spans()]
        vllm = engines["vllm"]
        yield engines, Started(names, vllm.statistics(), vllm.held(), names_in(scratch))


@pytest.fixture
def engines(both: tuple[dict[str, OwnedEngine], Started]) -> dict[str, OwnedEngine]:
    return both[0]


@pytest.fixture
def started(both: tuple[dict[str, OwnedEngine], Started]) -> Started:
    return both[1]


@pytest.fixture
def engine(engines: dict[str, OwnedEngine]) -> VllmEngine:
    return cast("VllmEngine", engines["vllm"])
