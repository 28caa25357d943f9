"""A base on which a whole study takes seconds."""

from pathlib import Path

import pytest

from tests.small_base import make_small_base


@pytest.fixture(scope="module")
def small_base(tmp_path_factory: pytest.TempPathFactory, base_files: Path) -> Path:
    return make_small_base(tmp_path_factory.mktemp("base"), base_files)
