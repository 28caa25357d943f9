"""One running Populace on the machine's best engine for all end-to-end tests."""

from collections.abc import Generator

import pytest

from populace.cluster import choose_engine
from populace.config import Settings
from tests.end_to_end.served import Served, serve


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, base_directory: object) -> Generator[Served]:
    del base_directory  # prepared before, so that the start is not the conversion
    engine = choose_engine(Settings.from_environment())
    with serve(tmp_path_factory.mktemp("served"), engine=engine) as running:
        yield running
