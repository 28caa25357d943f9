"""OpenAI's own client ends here as ``docs/clients.md`` says; the others are in ``tests/clients``."""

from pathlib import Path

import pytest

from tests.clients.pinned import read_clients, read_expected
from tests.clients.running import outcomes_of
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.ray]


def test_the_official_client_ends_as_expected_and_its_turns_are_in_the_log(
    served: Served, base_files: Path, tmp_path: Path
) -> None:
    outcomes = outcomes_of(read_clients()["openai"], None, served, base_files, tmp_path)

    assert outcomes == read_expected()["openai"]
