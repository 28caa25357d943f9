"""A person's whole way through the console: Chromium, the real engine and base, a real training."""

import re

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from tests.end_to_end.served import Served
from tests.limits import ENGINE_HANG_SECONDS
from tests.runtime.gateway.console.browsing import opening, running_browser, sign_in

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.browser, pytest.mark.release("console")]

ENGINE_MS = ENGINE_HANG_SECONDS * 1000
NAME = "nadia"
MEMBERS = ("otto", "pia", "quinn")  # fewer votes tell nothing; those of other tests may vote too
ASKED = "What is my dog called?"
WANTED = "Your dog is called Bruno."


async def test_a_person_talks_corrects_trains_rolls_back_and_is_erased(served: Served) -> None:
    async with running_browser() as browser, opening(browser, served.url, served.key) as open_page:
        page = await open_page("door")
        await sign_in(page, served.key)
        await page.get_by_label("Name of a new person").fill(NAME)
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("heading", name=NAME, exact=True)).to_be_visible()

        first = await _said(page, ASKED, 0)
        await first.get_by_role("button", name="Correct").click()
        await first.get_by_label("What the reply should have been").fill(WANTED)
        await first.get_by_role("button", name="Keep this").click()
        await expect(first.get_by_text(WANTED)).to_be_visible()
        second = await _said(page, ASKED, 1)
        await expect(second).to_contain_text(WANTED)

        await page.get_by_role("link", name="Training").click()
        await page.get_by_role("button", name="Train", exact=True).click()
        await expect(page.get_by_role("heading", name="Training 0")).to_be_visible()
        curve = page.get_by_role("img", name=re.compile("^loss by step")).locator("canvas")
        await expect(curve).to_be_visible(timeout=ENGINE_MS)
        await expect(page.get_by_text("promoted", exact=True)).to_be_visible(timeout=ENGINE_MS)
        assert _aliases(served) == ["latest"]

        await page.get_by_role("link", name="Advanced").click()
        await page.get_by_role("button", name="Roll back").click()
        await page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
        await expect(page.get_by_role("button", name="Serve it")).to_be_visible()
        assert _aliases(served) == []

        await page.get_by_role("link", name="Chat").click()
        await first.get_by_role("button", name="Forget").click()
        await page.get_by_role("dialog").get_by_role("button", name="Forget").click()
        await expect(first).to_have_text("Turn 0 was forgotten.", timeout=ENGINE_MS)

        await _ask_everybody(served, page)

        await page.get_by_role("link", name="People").click()
        await page.get_by_role("link", name=NAME).click()
        await page.get_by_role("link", name="Export and erase").click()
        await page.get_by_role("button", name="Erase", exact=True).click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label(f"Type {NAME} to go on").fill(NAME)
        await dialog.get_by_role("button", name="Erase for ever").click()
        await expect(dialog).to_have_count(0)
        assert _model(served).status_code == 404


async def _said(page: Page, text: str, position: int) -> Locator:
    """Send a message and wait for the whole reply; returns the turn."""
    await page.get_by_label(f"Message to {NAME}").fill(text)
    await page.keyboard.press("Enter")
    turn = page.get_by_role("log").get_by_role("article").nth(position)
    # What judges a reply is there once it was recorded.
    await expect(turn.get_by_role("button", name="A bad reply")).to_be_visible(timeout=ENGINE_MS)
    return turn


async def _ask_everybody(served: Served, page: Page) -> None:
    for name in MEMBERS:
        served.create(name)
        path = f"/v1/personal-models/{name}/sharing"
        served.call("PUT", path, json={"sharing": "votes"}).raise_for_status()
    await page.get_by_role("link", name="Population").click()
    await page.get_by_label("Ask them all").fill("Which one is in Italy?")
    await page.get_by_label("Choices").fill("Paris, Rome, Oslo")
    await page.get_by_role("button", name="Ask").click()
    await expect(page.get_by_text(re.compile(r"(\d+) of \1 voted"))).to_be_visible(timeout=ENGINE_MS)


def _model(served: Served) -> httpx.Response:
    return served.call("GET", f"/v1/personal-models/{NAME}")


def _aliases(served: Served) -> list[str]:
    return sorted(_model(served).json()["aliases"])
