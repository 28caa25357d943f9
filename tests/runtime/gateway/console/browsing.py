"""A browser for the console, which says of every page what it asked for and what was refused."""

import re
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.limits import HANG_SECONDS
from tests.notes import count_start

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESK, PHONE = (1280, 800), (390, 844)

REFUSED = re.compile(r"Content Security Policy|violates|TrustedHTML|TrustedScript", re.IGNORECASE)
"""What a browser writes about something that a page's policy forbids."""

Open = Callable[..., Awaitable[Page]]


@asynccontextmanager
async def running_browser() -> AsyncGenerator[Browser]:
    """Run Debian's Chromium, or what else there is. ``--no-sandbox`` because tests may run as root."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    count_start("browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def opening(browser: Browser, url: str, key: str) -> AsyncGenerator[Open]:
    """Yield what opens the console of a server at a place, signed in unless that is the ``door``.

    When the block ends, no page may have failed, asked another host for anything, or tried what its policy
    forbids.
    """
    refused: list[str] = []
    contexts: list[BrowserContext] = []
    expect.set_options(timeout=HANG_SECONDS * 1000)
    own_key = key

    def heard(message: ConsoleMessage) -> None:
        if REFUSED.search(message.text):
            refused.append(message.text)

    def asked(address: str) -> None:
        if not address.startswith((url, "data:", "blob:")):
            refused.append(f"asked for {address}")

    async def open_page(
        place: str = "people", *, size: tuple[int, int] = DESK, theme: str = "light", key: str | None = None
    ) -> Page:
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = await context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: refused.append(f"failed: {error}"))
        page.on("request", lambda request: asked(request.url))
        await page.goto(f"{url}/console#/{place}")
        if place != "door":
            await sign_in(page, key or own_key)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert refused == []


async def sign_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("navigation", name="Pages", exact=True)).to_be_visible()
