"""A server for a browser, over the real gateway and store.

One browser serves all tests of this folder, so that it, the servers and the tests are on one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from populace.gateway.server import Server, bind
from tests.runtime.archive.uploads import write_base
from tests.runtime.gateway.conftest import HeldSearches
from tests.runtime.gateway.console.browsing import Open, opening, running_browser
from tests.runtime.gateway.population import Population, running_population


class ConsoleServer:
    """A real server over the population, on a port that it keeps when it starts again."""

    def __init__(self, population: Population) -> None:
        self.population = population
        self.port = 0
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        listener = bind("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        self._server = Server(self.population.app)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """End it as a crash would: streams break off."""
        assert self._server is not None
        assert self._serving is not None
        self._server.should_exit = self._server.force_exit = True
        await self._serving
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()


@pytest_asyncio.fixture(loop_scope="session")
async def population(tmp_path: Path) -> AsyncGenerator[Population]:
    """Two hosts with the model ``ada`` of acme."""
    async with running_population(tmp_path) as population:
        yield population


@pytest_asyncio.fixture(loop_scope="session")
async def client(population: Population) -> AsyncGenerator[httpx.AsyncClient]:
    """Acme's client, without sockets."""
    async with population.client() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def server(population: Population) -> AsyncGenerator[ConsoleServer]:
    write_base(population.base_directory)
    server = ConsoleServer(population)
    server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncGenerator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(server: ConsoleServer, browser: Browser) -> AsyncGenerator[Open]:
    """Open the console at a place, signed in as acme unless it is at the ``door``."""
    async with opening(browser, server.url, server.population.keys["acme"]) as open_page:
        yield open_page


@pytest_asyncio.fixture(loop_scope="session")
async def held_searches(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[HeldSearches]:
    held = HeldSearches(monkeypatch)
    yield held
    held.go_on()


@asynccontextmanager
async def held_reply(population: Population, before: int) -> AsyncGenerator[None, None]:
    """Replies wait before their token of this number until the block ends."""
    engine = population.engine
    engine.gate.clear()
    engine.held.clear()
    engine.hold_before = before
    try:
        yield
    finally:
        engine.hold_before = None
        engine.gate.set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-console-pictures", action="store_true", help="write docs/console/*.png")


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where pictures of pages go: into the documentation if that was asked for."""
    if request.config.getoption("--write-console-pictures", default=False):
        return request.config.rootpath / "docs/console"
    return tmp_path
