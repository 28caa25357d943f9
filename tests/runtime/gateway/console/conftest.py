"""A server for a browser, and a browser that says of every page what it asked for and what was refused."""

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from populace.gateway.server import Server, bind
from tests.limits import HANG_SECONDS
from tests.runtime.archive.uploads import write_base
from tests.runtime.gateway.population import Population

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESK, PHONE = (1280, 800), (390, 844)

REFUSED = re.compile(r"Content Security Policy|violates|TrustedHTML|TrustedScript", re.IGNORECASE)
"""What a browser writes about something that a page's policy forbids."""

Open = Callable[..., Awaitable[Page]]


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


@pytest.fixture
async def server(population: Population) -> AsyncGenerator[ConsoleServer, None]:
    write_base(population.base_directory)
    server = ConsoleServer(population)
    server.start()
    yield server
    await server.stop()


@pytest.fixture
async def browser() -> AsyncGenerator[Browser, None]:
    """Debian's Chromium, or what else there is. ``--no-sandbox`` because tests may run as root."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(server: ConsoleServer, browser: Browser) -> AsyncGenerator[Open, None]:
    """Open the console at a place, signed in as acme unless it is at the ``door``.

    When the test ends, no page may have failed, asked another host for anything, or tried what its policy
    forbids.
    """
    refused: list[str] = []
    expect.set_options(timeout=HANG_SECONDS * 1000)

    def heard(message: ConsoleMessage) -> None:
        if REFUSED.search(message.text):
            refused.append(message.text)

    def asked(url: str) -> None:
        if not url.startswith((server.url, "data:", "blob:")):
            refused.append(f"asked for {url}")

    async def open_page(
        place: str = "people", *, size: tuple[int, int] = DESK, theme: str = "light", key: str | None = None
    ) -> Page:
        page = await browser.new_page(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
        )
        page.on("console", heard)
        page.on("pageerror", lambda error: refused.append(f"failed: {error}"))
        page.on("request", lambda request: asked(request.url))
        await page.goto(f"{server.url}/console#/{place}")
        if place != "door":
            await sign_in(page, key or server.population.keys["acme"])
        return page

    yield open_page
    assert refused == []


async def sign_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("navigation", name="Pages", exact=True)).to_be_visible()


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
