"""A first talk in the console, filmed: something is told, asked for elsewhere, and corrected."""

import io
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Page, expect

from tests.runtime.gateway.console.browsing import Open
from tests.runtime.gateway.console.conftest import held_reply
from tests.runtime.gateway.population import Population

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SIZE = (960, 620)
FILM_BYTES_MAX = 1_000_000
TYPED_AT_ONCE = 6
SHORT_MS, LONG_MS = 110, 1500
TOLD = "My dog is called Bruno, and he is afraid of thunder."
ASKED = "What is my dog called?"
WRONG = "You have a lovely dog, and a dog needs a name. Rex would be a good one."
RIGHT = "Your dog is called Bruno."


class Film:
    """Pictures of a page, and how long each is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pictures: list[tuple[Image.Image, int]] = []

    async def take(self, shown_ms: int = SHORT_MS) -> None:
        shot = await self.page.screenshot(caret="initial")
        self.pictures.append((Image.open(io.BytesIO(shot)).convert("RGB"), shown_ms))

    async def type(self, text: str) -> None:
        for start in range(0, len(text), TYPED_AT_ONCE):
            await self.page.keyboard.type(text[start : start + TYPED_AT_ONCE])
            await self.take()
        self.pictures[-1] = (self.pictures[-1][0], LONG_MS // 3)

    def save(self, path: Path) -> None:
        first, *others = [picture for picture, _ in self.pictures]
        shown = [shown_ms for _, shown_ms in self.pictures]
        first.save(path, save_all=True, append_images=others, duration=shown, loop=0, quality=70, method=2)


async def test_a_first_talk_is_filmed(population: Population, open_page: Open, pictures: Path) -> None:
    page = await open_page("people/ada/chat", size=SIZE)
    film = Film(page)
    await expect(page.get_by_label("Message to ada")).to_be_focused()
    await film.take(LONG_MS)

    await film.type(TOLD)
    population.engine.reply = ("**Bruno** is in good hands.", " When it thunders, stay close to him.")
    async with held_reply(population, before=1):
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("is in good hands.")).to_be_visible()
        await film.take(LONG_MS // 2)
    await expect(page.get_by_role("button", name="Correct")).to_have_count(1)
    await film.take(LONG_MS)

    await page.get_by_role("button", name="New conversation").click()
    await expect(page.get_by_text("Say something to ada")).to_be_visible()
    await page.get_by_label("Message to ada").focus()
    await film.type(ASKED)
    population.engine.reply = (WRONG,)
    await page.keyboard.press("Enter")
    turn = page.get_by_role("article")
    await expect(turn.get_by_text(WRONG)).to_be_visible()
    await film.take(LONG_MS)
    await turn.get_by_role("button", name="Correct").click()
    await film.type(RIGHT)
    await page.keyboard.press("Control+Enter")
    await expect(turn.get_by_text(RIGHT)).to_be_visible()
    await film.take(LONG_MS)
    await page.get_by_role("button", name="Close this message").click()
    await page.get_by_label("Message to ada").focus()
    await film.type(ASKED)
    population.engine.reply = (RIGHT,)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Correct")).to_have_count(2)
    await film.take(2 * LONG_MS)

    film.save(pictures / "first-talk.webp")
    assert (pictures / "first-talk.webp").stat().st_size <= FILM_BYTES_MAX
    # It moves: something has changed from each picture to the next.
    assert all(before.tobytes() != after.tobytes() for (before, _), (after, _) in pairwise(film.pictures))
