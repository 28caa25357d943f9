"""One running Populace on the machine's best engine for all tests of this folder."""

from collections.abc import Generator
from pathlib import Path

import pytest

from populace.base.prepare import prepare_base
from populace.cluster.serve import choose_engine
from populace.settings.settings import Settings
from scripts.bench.random_module import random_module
from tests.end_to_end.served import Served, serve


@pytest.fixture(scope="package")
def memory_module(tmp_path_factory: pytest.TempPathFactory, base_directory: Path) -> Path:
    """A module that writes, and is too weak for its states to change a greedy reply."""
    fingerprint = prepare_base(None, Settings.from_environment().cache).fingerprint
    path = tmp_path_factory.mktemp("memory") / "module.safetensors"
    path.write_bytes(random_module(base_directory, fingerprint, strength=0.01).pack())
    return path


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, memory_module: Path) -> Generator[Served]:
    """It writes traces and keeps a journal, as one that people rely on does."""
    engine = choose_engine(Settings.from_environment())
    folder = tmp_path_factory.mktemp("served")
    (folder / "bucket").mkdir()
    settings = {"POPULACE_TELEMETRY": "file", "POPULACE_JOURNAL": f"file://{folder}/bucket"}
    with serve(folder, engine=engine, memory_module=memory_module, settings=settings) as running:
        yield running
