"""Other people's clients end with a running Populace as ``expected.toml`` says."""

from concurrent.futures import Future
from pathlib import Path

import pytest

import populace
from tests.clients.pinned import Outcomes, read_clients, read_expected
from tests.clients.running import client_environment, run
from tests.end_to_end.served import Served

pytestmark = pytest.mark.client


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
    model = served.create(name.replace(" ", "-"))
    environment = client_environment(served.url, served.key, model, base_files)

    results = run(read_clients()[name], folder, tmp_path, environment)

    outcomes = {result.scenario: result.outcome for result in results}
    if rewritten is not None:
        rewritten[name] = outcomes
    else:
        assert outcomes == read_expected()[name]
    made = [turn for result in results for turn in result.turns]
    replies = [turn.reply for turn in log_of(served, model)]
    assert len(replies) == len(made)
    # Null has no words to compare: how the log tells of calls of tools is not a client's to know.
    assert [reply for reply, turn in zip(replies, made, strict=True) if turn is not None] == [
        turn for turn in made if turn is not None
    ]


def log_of(served: Served, model: str) -> tuple[populace.Interaction, ...]:
    with populace.connect(data=served.data) as population:
        return population.model(model).log(limit=1000)
