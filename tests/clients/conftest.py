"""One running Populace for all clients, whose environments are made while it starts."""

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.environments import prepare
from tests.clients.page import PAGE, render
from tests.clients.pinned import Outcomes, read_clients, read_expected, write_expected
from tests.end_to_end.served import Served, serve

WRITE = "--write-clients-page"
AT_ONCE = 4
"""pip waits for the network most of the time, and unpacks for the rest."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known only where this folder is named on the command line."""
    parser.addoption(WRITE, action="store_true", help="write docs/clients.md and expected.toml from this run")


@pytest.fixture(scope="session")
def environments() -> Generator[dict[str, Future[Path]]]:
    """By client, the folder of its environment, or what kept it from being made."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(prepare, client) for name, client in read_clients().items() if client.packages
        }


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, environments: dict[str, Future[Path]]
) -> Generator[Served]:
    # The page is about vLLM, and the torch engine refuses other things.
    with serve(tmp_path_factory.mktemp("served"), engine="vllm") as running:
        yield running


@pytest.fixture(scope="session")
def rewritten(request: pytest.FixtureRequest) -> Generator[Outcomes | None]:
    """What a run that writes the page has seen, to be filled; null for a run that compares.

    What the run did not reach stays as it was.
    """
    if not request.config.getoption(WRITE, default=False):
        yield None
        return
    seen: Outcomes = {}
    yield seen
    clients, before = read_clients(), read_expected()
    outcomes = {name: seen.get(name, before.get(name, {})) for name in clients}
    write_expected(outcomes)
    PAGE.write_text(render(clients, outcomes), encoding="utf-8")
