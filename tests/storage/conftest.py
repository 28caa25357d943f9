"""A shard for each test, whose books must balance when the test ends, and a store to back up."""

from collections.abc import Generator
from pathlib import Path

import pytest

from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.storage.backups import SHARDS, Place, fill
from tests.storage.samples import open_shard

MAP_BYTES = 1 << 26


@pytest.fixture
def shard_path(tmp_path: Path) -> Path:
    return tmp_path / "shard"


@pytest.fixture
def shard(shard_path: Path) -> Generator[Shard]:
    opened = open_shard(shard_path, 0, 1, "the test", map_bytes=MAP_BYTES)
    yield opened
    # Again from disk, and also after the test stopped it.
    opened.reopen()
    opened.check_integrity()
    opened.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = Store.create_or_open(tmp_path / "data", SHARDS)
    fill(store)
    return Place(store, tmp_path / "backup", tmp_path / "keys", tmp_path / "new")


@pytest.fixture
def backed_up(place: Place) -> Place:
    place.back_up()
    return place
