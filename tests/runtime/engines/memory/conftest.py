"""Both engines on a tiny base with a memory module, started once for all tests of this folder.

vLLM's cache is scarce: prompts are read in pieces, and four replies of over 100 tokens do not fit it.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from populace.actors.engine import OwnedEngine
from populace.adapters.memory.layer import MemoryShape
from populace.engines.options import EngineOptions
from scripts.bench.random_module import random_module
from tests.runtime.engines.engines_under_test import ENGINES, both_engines
from tests.small_base import make_lively_base

FINGERPRINT = "f" * 64
CONTEXT_TOKENS = 384
PLACES = 4
BLOCKS = 18
BLOCK_TOKENS = 32


@pytest.fixture(scope="package")
def base_directory(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lively_base(tmp_path_factory.mktemp("lively-base"), base_files)


@pytest.fixture(
    scope="package",
    params=["TSW", *(pytest.param(one, marks=pytest.mark.release("memory")) for one in ("MSW", "SSW"))],
)
def module_file(
    base_directory: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    shapes = {
        "TSW": MemoryShape(),
        "MSW": MemoryShape(rank=4, alpha=8.0, states=3),
        "SSW": MemoryShape(writes="message"),
    }
    path = tmp_path_factory.mktemp("memory") / "module.safetensors"
    path.write_bytes(random_module(base_directory, FINGERPRINT, shapes[request.param]).pack())
    return path


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def engines(base_directory: Path, module_file: Path) -> AsyncGenerator[dict[str, OwnedEngine]]:
    options = EngineOptions(
        base_directory,
        FINGERPRINT,
        context_tokens=CONTEXT_TOKENS,
        sequences_max=PLACES,
        adapter_slots=2,
        dtype="float32",
        memory_module=module_file,
    )
    cache: dict[str, int] = {"num_gpu_blocks_override": BLOCKS, "block_size": BLOCK_TOKENS}
    async with both_engines(options, max_num_batched_tokens=48, **cache) as engines:
        yield engines


@pytest_asyncio.fixture(loop_scope="session", params=ENGINES)
async def engine(
    engines: dict[str, OwnedEngine], request: pytest.FixtureRequest
) -> AsyncGenerator[OwnedEngine]:
    chosen = engines[str(request.param)]
    yield chosen
    assert chosen.statistics().running == chosen.statistics().waiting == 0
    chosen.check_integrity()
