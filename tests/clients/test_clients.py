"""Other people's clients end with a running Populace as ``expected.toml`` says."""

from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.clients.pinned import Outcomes, read_clients, read_expected
from tests.clients.running import outcomes_of
from tests.end_to_end.served import Served

pytestmark = [pytest.mark.client, pytest.mark.release("clients")]


@pytest.mark.parametrize("name", read_clients())
def test_a_client_ends_as_expected_and_its_turns_are_in_the_log(
    name: str,
    served: Served,
    environments: dict[str, Future[Path]],
    rewritten: Outcomes | None,
    base_files: Path,
    tmp_path: Path,
) -> None:
    folder = environments[name].result() if name in environments else None

    outcomes = outcomes_of(read_clients()[name], folder, served, base_files, tmp_path)

    if rewritten is not None:
        rewritten[name] = outcomes
    else:
        assert outcomes == read_expected()[name]
