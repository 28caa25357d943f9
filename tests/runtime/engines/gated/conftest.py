"""Both engines on a tiny base with a gated memory, started once for all tests of this folder."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from populace.actors.engine import OwnedEngine
from populace.adapters.memory.layer import MemoryShape
from populace.engines.options import EngineOptions
from scripts.bench.random_module import random_module
from tests.runtime.engines.engines_under_test import both_engines
from tests.small_base import make_lively_base

FINGERPRINT = "f" * 64
CONTEXT_TOKENS = 512
SHAPE = MemoryShape(rank=4, alpha=4.0, gated=True, first_layer=1)


@pytest.fixture(scope="package")
def base_directory(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lively_base(tmp_path_factory.mktemp("lively-base"), base_files)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def engines(
    base_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[dict[str, OwnedEngine]]:
    path = tmp_path_factory.mktemp("memory") / "module.safetensors"
    path.write_bytes(random_module(base_directory, FINGERPRINT, SHAPE, strength=0.3).pack())
    options = EngineOptions(
        base_directory,
        FINGERPRINT,
        context_tokens=CONTEXT_TOKENS,
        sequences_max=4,
        dtype="float32",
        memory_module=path,
    )
    # Prompts are read in pieces.
    async with both_engines(options, max_num_batched_tokens=48, block_size=32) as engines:
        yield engines
