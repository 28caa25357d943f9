"""Forms of the console are sent once, refusals are undone and said, and the focus is where one goes on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.runtime.gateway.console import staging
from tests.runtime.gateway.console.browsing import PHONE, Open
from tests.runtime.gateway.population import Population

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

KNOWN: dict[str, Any] = {
    "model": "ada",
    "facts": [
        {
            "question": "What is your dog called?",
            "answer": "Bruno",
            "said": "My dog is called Bruno",
            "sure": 0.9,
            "read": False,
            "position": 0,
        }
    ],
    "unknown": [],
}
REFUSED = {"error": {"message": "It is away: see `populace logs`.", "code": "away"}}
LONG = "x" * 64


@asynccontextmanager
async def counted(page: Page, path: str) -> AsyncGenerator[tuple[list[str | None], asyncio.Event]]:
    """Requests to a path wait for the event. Yields their keys, and the event."""
    keys: list[str | None] = []
    go_on = asyncio.Event()

    async def wait(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key"))
        await go_on.wait()
        await route.continue_()

    await page.route(f"**{path}", wait)
    yield keys, go_on
    go_on.set()
    await page.unroute_all(behavior="wait")


async def press_twice(page: Page, button: Locator) -> None:
    await button.click()
    await expect(button).to_be_disabled()
    await page.evaluate("document.querySelectorAll('main form').forEach(form => form.requestSubmit?.())")


async def test_a_copy_is_made_once(population: Population, open_page: Open) -> None:
    page = await open_page("people/ada/keeping")
    await page.get_by_label("Name of the copy").fill("copy")
    async with counted(page, "/fork") as (keys, go_on):
        await press_twice(page, page.get_by_role("button", name="Copy"))
        go_on.set()
        await expect(page.get_by_role("heading", name="copy", exact=True)).to_be_visible()
    assert len(keys) == 1
    await expect(page.locator(".notice.bad")).to_have_count(0)


async def test_what_is_told_anew_is_told_once(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    await staging.talk(population, client)
    page = await open_page("people")
    await page.route("**/memory/known", lambda route: route.fulfill(json=KNOWN))
    await page.evaluate("location.hash = '#/people/ada/knows'")
    await page.get_by_role("button", name="Correct").click()
    await page.get_by_label("Tell it how it is").fill("My dog is called Max.")
    async with counted(page, "/v1/chat/completions") as (keys, go_on):
        await press_twice(page, page.get_by_role("button", name="Tell it", exact=True))
        go_on.set()
        await expect(page.get_by_text("It was told")).to_be_visible()

    assert len(keys) == 1
    assert keys[0]
    assert [turn.messages[-1].content for turn in await population.log("ada")][3:] == [
        "My dog is called Max."
    ]
    await expect(page.get_by_role("button", name="Correct")).to_be_focused()


async def test_a_refused_change_of_consent_is_not_shown_as_done(
    client: httpx.AsyncClient, open_page: Open
) -> None:
    await staging.share(client, ("ada",))
    page = await open_page("people/ada/keeping")

    async def refuse(route: Route) -> None:
        if route.request.method == "GET":
            await route.continue_()
        else:
            await route.fulfill(status=503, json=REFUSED)

    await page.route("**/sharing", refuse)
    await page.route("**/contribution", lambda route: route.fulfill(status=503, json=REFUSED))
    texts = page.get_by_role("radio", name="Texts")
    await expect(texts).to_be_checked()
    await page.get_by_role("radio", name="Nothing").click()
    await expect(page.locator(".notice.bad")).to_contain_text("It is away")
    await expect(texts).to_be_checked()
    everybody = page.get_by_role("checkbox", name="The community may learn")
    await everybody.click()
    await expect(everybody).not_to_be_checked()
    # The same notice twice is one, and what stands in backticks is code.
    await expect(page.locator(".notice")).to_have_count(1)
    await expect(page.locator(".notice code").first).to_have_text("populace logs")
    # A change that is taken leaves no word of the refusal.
    await page.unroute_all(behavior="wait")
    await everybody.click()
    await expect(page.locator(".notice")).to_have_count(0)
    await expect(everybody).to_be_checked()


async def test_a_correction_is_written_and_kept_with_the_keyboard(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    await staging.talk(population, client)
    page = await open_page("people/ada/chat")
    turn = page.get_by_role("article").last
    correct = turn.get_by_role("button", name="Correct")
    field = turn.get_by_label("What the reply should have been")
    await correct.press("Enter")
    await expect(field).to_be_focused()
    await expect(field).to_have_value("")
    await page.keyboard.press("Escape")
    await expect(field).to_have_count(0)
    await expect(correct).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.type("He is Bruno.")
    await page.keyboard.press("Control+Enter")

    await expect(field).to_have_count(0)
    await expect(turn.get_by_text("He is Bruno.")).to_be_visible()
    await expect(correct).to_be_focused()
    notice = page.locator(".notice").filter(has_text="It is said from the next turn on")
    await expect(notice).to_have_count(1)
    send = await page.get_by_role("button", name="Send", exact=True).bounding_box()
    tabs = await page.locator(".tabs").bounding_box()
    said = await notice.bounding_box()
    assert send is not None
    assert tabs is not None
    assert said is not None
    assert said["y"] + said["height"] < send["y"]


async def test_a_dialog_gives_the_focus_back_and_goes_with_its_page(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    await staging.talk(population, client)
    page = await open_page("people/ada/keeping")
    erase, dialog = page.get_by_role("button", name="Erase", exact=True), page.get_by_role("dialog")
    await erase.press("Enter")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(erase).to_be_focused()
    await erase.press("Enter")
    await expect(dialog).to_be_visible()
    await page.evaluate("location.hash = '#/people/ada/chat'")
    await expect(dialog).to_have_count(0)

    await page.get_by_role("button", name="Forget").last.press("Enter")
    await dialog.get_by_role("button", name="Forget").click()
    await expect(page.get_by_role("log").get_by_text("Turn 2 was forgotten.")).to_be_visible()
    await expect(page.get_by_role("log")).to_be_focused()


@pytest.mark.parametrize("part", ["chat", "keeping"])
async def test_a_long_name_fits_a_phone(population: Population, open_page: Open, part: str) -> None:
    await population.create(LONG)
    page = await open_page(f"people/{LONG}/{part}", size=PHONE)
    await expect(page.locator(".skeleton")).to_have_count(0)
    await expect(page.get_by_role("heading", name=LONG)).to_be_visible()
    await expect(page.locator(".talk, .narrow")).to_be_visible()

    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


async def test_what_it_knows_is_shown_at_once_and_again_until_it_is_of_now(open_page: Open) -> None:
    page = await open_page("people")
    older = asyncio.Event()
    later: dict[str, Any] = {"facts": [], "refreshing": False}
    answers = [KNOWN | {"refreshing": True}, KNOWN | later]

    async def answer(route: Route) -> None:
        await older.wait()
        await route.fulfill(json=answers.pop(0))

    await page.route("**/memory/known", answer)
    await page.evaluate("location.hash = '#/people/ada/knows'")
    await expect(page.get_by_text("Loading what it knows")).to_be_visible()
    await expect(page.get_by_text("Find and forget")).to_be_visible()
    older.set()

    await expect(page.locator("q")).to_have_text("My dog is called Bruno")
    await expect(page.get_by_role("link", name="turn 0")).to_be_visible()
    await expect(page.get_by_text("It is asked again")).to_be_visible()
    await expect(page.get_by_text("Nothing yet")).to_be_visible()
    await expect(page.get_by_text("It is asked again")).to_have_count(0)
