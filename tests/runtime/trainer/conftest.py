"""One small base for the tests of a file, and a population over it with a trainer."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import torch

from populace.learning.frozen_base import FrozenBase
from tests.runtime.trainer.trained_population import BASE, Trained


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, BASE, dtype=torch.float32)


@pytest.fixture
async def population(tmp_path: Path, small_base_f32: Path, base: FrozenBase) -> AsyncGenerator[Trained]:
    made = Trained(tmp_path / "store", small_base_f32, base)
    yield made
    made.host.close()
