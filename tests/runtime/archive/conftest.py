"""Two homes for each test: one with a model that has everything, and an empty one."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.runtime.archive.homes import Home, give_everything, open_home


@pytest.fixture
def home(tmp_path: Path) -> Generator[Home]:
    with open_home(tmp_path / "home") as opened:
        give_everything(opened, tmp_path / "adapters")
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Generator[Home]:
    with open_home(tmp_path / "other") as opened:
        yield opened
