"""A base that is small enough to train on, in the type in which numbers can be compared closely."""

from pathlib import Path

import pytest
import torch

from tests.small_base import make_small_base


@pytest.fixture(scope="session")
def small_base_f32(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base-f32"), base_directory, torch.float32)
