"""The base and the adapters that the engine tests serve."""

from pathlib import Path

import pytest

from populace.actors.engine import AdapterRef
from populace.adapters.random_adapter import ATTENTION, write_random_adapter
from populace.storage.revisions import adapter_digest
from tests.small_base import make_short_base

FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="session")
def base_directory(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer of the default base's layers: these tests compare, and do not read what is said."""
    return make_short_base(tmp_path_factory.mktemp("short-base"), base_files)


@pytest.fixture(scope="module")
def adapters(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    """Five adapters of different ranks and targets, each strong enough to change a greedy reply."""
    root = tmp_path_factory.mktemp("adapters")
    shapes = [
        (8, ATTENTION, 0.1),
        (8, ATTENTION, 0.1),
        (16, (*ATTENTION, *FEED_FORWARD), 0.1),
        (4, ATTENTION[:1], 0.5),
        (8, FEED_FORWARD, 0.2),
    ]
    paths = [
        write_random_adapter(
            root / str(seed), base_directory, seed=seed, rank=rank, targets=targets, scale=scale
        )
        for seed, (rank, targets, scale) in enumerate(shapes)
    ]
    return [AdapterRef(adapter_digest(path)[0], str(path)) for path in paths]


@pytest.fixture
def broken_adapter(adapters: list[AdapterRef], tmp_path: Path) -> AdapterRef:
    """An adapter of which only the first 1,000 bytes of each file are left."""
    for file in Path(adapters[0].path).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1000])
    return AdapterRef(adapter_digest(tmp_path)[0], str(tmp_path))
