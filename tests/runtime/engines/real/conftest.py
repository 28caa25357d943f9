"""Both engines on the default base's layers in float32, which are started once for all tests of this folder.

The last one, in ``test_zz_closing.py``, closes them.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from populace.actors.engine import OwnedEngine
from populace.engines.options import EngineOptions
from tests.runtime.engines.engines_under_test import ENGINES, both_engines
from tests.small_base import make_short_base

CONTEXT_TOKENS = 512
ADAPTER_SLOTS = 3


@pytest.fixture(
    scope="package", params=["short", pytest.param("whole", marks=pytest.mark.release("engines"))]
)
def base_directory(
    base_files: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """Six layers of the default base, which take a third of the time, or all of it."""
    if request.param == "whole":
        return base_files
    return make_short_base(tmp_path_factory.mktemp("short-base"), base_files)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def engines(base_directory: Path) -> AsyncGenerator[dict[str, OwnedEngine]]:
    options = EngineOptions(
        base_directory,
        "fingerprint",
        context_tokens=CONTEXT_TOKENS,
        sequences_max=4,
        adapter_slots=ADAPTER_SLOTS,
        dtype="float32",
    )
    async with both_engines(options) as engines:
        yield engines


@pytest_asyncio.fixture(loop_scope="session", params=ENGINES)
async def engine(
    engines: dict[str, OwnedEngine], request: pytest.FixtureRequest
) -> AsyncGenerator[OwnedEngine]:
    """One of the engines; afterwards it must be idle and its books must balance."""
    chosen = engines[str(request.param)]
    yield chosen
    assert chosen.statistics().running == chosen.statistics().waiting == chosen.statistics().adapters_hot == 0
    chosen.check_integrity()
