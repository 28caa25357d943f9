"""How the console looks: to whoever cannot see it, on a phone, in the dark, and how soon."""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Route, expect

from populace.actors.errors import EngineUnavailable
from tests.runtime.gateway.console import staging
from tests.runtime.gateway.console.browsing import DESK, PHONE, Open
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_population import profile
from tests.runtime.gateway.test_request_logs import Logging

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PLACES = {
    "door": "door",
    "people": "people",
    "chat": "people/ada/chat",
    "knows": "people/ada/knows",
    "revisions": "people/ada/revisions",
    "training": "people/ada/training",
    "suite": "people/ada/suite",
    "memory": "people/ada/memory",
    "keeping": "people/ada/keeping",
    "population": "population",
    "system": "system",
    "request": "system/requests/shown",
}
PEOPLE = ("ben", "cyd", "grace", "linus", "nora-2", "tim_b", "zoe")
SUITE = [
    {"ask": "What is my dog called?", "expect": "Bruno"},
    {"ask": "What is 3 + 4?", "expect": "7", "check": "number"},
]
DOOR_BYTES_MAX = 60_000
KNOWN: dict[str, Any] = {
    "facts": [
        {
            "question": question,
            "answer": answer,
            "sure": sure,
            "position": position,
            "said": said,
            "read": sure == 1,
        }
        for question, answer, sure, position, said in (
            ("What is my dog called?", "Bruno, a dog that is afraid of thunder", 1, 0, staging.SAID[0][0]),
            ("Where do I live?", "In Lisbon", 0.93, 1, staging.SAID[1][0]),
        )
    ],
    "unknown": ["What is my name?", "How old am I?", "What do I do for a living?"],
}
"""What a language model would answer; the scripted engine has one reply to all."""
DRAWN = """() => [...document.querySelectorAll(".tiles-of-memory canvas")].map(tile => {
    const drawn = tile.getContext("2d").getImageData(0, 0, tile.width, tile.height).data;
    return drawn.some((value, index) => index % 4 === 3 && value) ? [tile.width, tile.height] : null;
})"""
"""The sizes of the memory's tiles that have something in them."""

WHOLE = """select => {
    const free = select.cloneNode(true);
    free.style.cssText = "width: max-content; position: absolute";
    select.parentElement.append(free);
    const wanted = free.offsetWidth;
    free.remove();
    return select.offsetWidth >= wanted;
}"""
"""Whether a choice has room for the longest of its texts."""

LOOKS = [("light", DESK), ("dark", PHONE)]


@pytest_asyncio.fixture(loop_scope="session")
async def staged(population: Population, client: httpx.AsyncClient) -> AsyncGenerator[None]:
    """Something on every page: turns, three revisions, a training under way, a suite, members, a log."""
    for name in PEOPLE:
        await population.create(name)
    staging.remember(population)
    for seed in ("one", "two", "three"):
        await staging.talk(population, client)
        await staging.promoted(population, client, seed)
        if seed == "two":
            await client.post(f"{staging.MODELS}/ada/rollback", json={})
    await staging.talk(population, client)
    await staging.begun(population, client)
    await client.put(f"{staging.MODELS}/ada/suite", json={"questions": SUITE})
    await staging.share(client, ("ada", *PEOPLE[:4]))
    for seed, name in enumerate(PEOPLE[:4]):
        await profile(population, name, seed // 2)
    log = Logging(population, traces=True)
    population.engine.failure = EngineUnavailable("gone")
    failed = await client.post(
        "/v1/chat/completions", json=chat_body(conversation="console"), headers={"x-request-id": "shown"}
    )
    assert failed.status_code == 503
    population.engine.failure = None
    log.settle()
    population.engine.reply = (" Rome",)
    yield
    log.end()


async def settle(page: Page, place: str) -> None:
    """Wait until what the page shows first is there."""
    await expect(page.locator(".skeleton")).to_have_count(0)
    await expect(page.get_by_role("heading").first).to_be_visible()
    if place == "people/ada/training":
        await expect(page.locator("canvas").first).to_be_visible()
    if place == "people/ada/revisions":
        await expect(page.get_by_role("button", name="Roll back")).to_be_visible()
    if place == "people/ada/knows":
        await page.route("**/memory/known", lambda route: route.fulfill(json=KNOWN))
        await page.get_by_role("button", name="Look again").click()
        await expect(page.get_by_text("Bruno, a dog that is afraid of thunder")).to_be_visible()
    if place == "people/ada/memory":
        await expect(page.get_by_role("figure", name="The memory of ada: 12 layers")).to_be_visible()
        assert await page.evaluate(DRAWN) == [[8, 4]] * 12
        await expect(page.get_by_text("It is being asked")).to_have_count(0)
    if place == "population":
        await page.get_by_label("Ask them all").fill("Which one is in Italy?")
        await page.get_by_label("Choices").fill("Paris, Rome, Oslo")
        await page.get_by_role("button", name="Ask").click()
        await expect(page.get_by_text("5 of 5 voted")).to_be_visible()
        await page.get_by_text("Advanced: who answers alike").click()
        await expect(page.get_by_role("listbox", name="Map").get_by_role("option")).to_have_count(4)
        await page.get_by_role("listbox", name="Map").scroll_into_view_if_needed()
    if place == "system/requests/shown":
        await expect(page.locator(".log").get_by_text("engine_unavailable")).to_be_visible()
        await expect(page.locator(".trace").get_by_text("engine_unavailable")).to_be_visible()
    if place == "people/ada/suite":
        await page.get_by_role("button", name="Ask", exact=True).click()
        await expect(page.get_by_text("0 of 2")).to_be_visible()


async def read_by_axe(page: Page) -> dict[str, Any]:
    # Its results are untyped.
    axe: Any = Axe()
    return (await axe.run(page)).response


def serious(found: dict[str, Any]) -> list[str]:
    return [
        f"{violation['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(("theme", "size"), LOOKS)
async def test_every_page_can_be_read_by_everybody(
    staged: None, open_page: Open, pictures: Path, theme: str, size: tuple[int, int]
) -> None:
    problems: dict[str, list[str]] = {}
    page = await open_page("door", size=size, theme=theme)
    for name, place in PLACES.items():
        if name != "door":
            await page.close()
            page = await open_page(place, size=size, theme=theme)
        await settle(page, place)
        await page.mouse.move(0, 0)
        problems[name] = serious(await read_by_axe(page))
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{name} is too wide"
        )
        await page.screenshot(path=pictures / f"{name}-{theme}.png")

    assert {name: found for name, found in problems.items() if found} == {}


@pytest.mark.parametrize(("theme", "size"), LOOKS)
async def test_what_went_wrong_and_what_one_thinks_can_be_read_by_everybody(
    staged: None, open_page: Open, theme: str, size: tuple[int, int]
) -> None:
    page = await open_page("people/ada/chat", size=size, theme=theme)
    correct = page.get_by_role("button", name="Correct")
    turn = page.get_by_role("article").filter(has=correct).last
    good, bad = (turn.get_by_role("button", name=f"A {which} reply") for which in ("good", "bad"))
    await bad.click()
    accent = await page.locator(".tabs [aria-current]").evaluate("tab => getComputedStyle(tab).color")
    await expect(bad).to_have_css("color", accent)
    await expect(good).not_to_have_css("color", accent)
    refusal = {"error": {"message": "It is full: see `populace logs`.", "code": "mailbox_full"}}
    for path in ("feedback", "chat/completions"):
        await page.route(f"**/v1/{path}", lambda route: route.fulfill(status=429, json=refusal))
    await page.get_by_label("Message to ada").fill("Hello")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Dismiss")).to_be_visible()
    await turn.get_by_role("button", name="Correct").click()
    await turn.get_by_label("What the reply should have been").fill("Bruno.")
    await turn.get_by_role("button", name="Keep this").click()
    await good.click()
    await expect(page.locator("form .wrong, .notice.bad")).to_have_count(2)

    assert serious(await read_by_axe(page)) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.unroute_all(behavior="wait")


@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("place", ["people", "people/ada/chat"])
async def test_a_page_that_scrolls_within_has_no_other_scroll_bar(
    staged: None, open_page: Open, place: str, size: tuple[int, int]
) -> None:
    page = await open_page(place, size=size)
    await expect(page.locator(".skeleton")).to_have_count(0)
    await expect(page.locator(".scroller, .feed")).to_be_visible()

    assert await page.evaluate("document.documentElement.scrollHeight <= innerHeight")


@pytest.mark.parametrize("size", [DESK, PHONE])
async def test_a_choice_is_as_wide_as_its_text(open_page: Open, size: tuple[int, int]) -> None:
    page = await open_page("people/ada/training", size=size)

    assert await page.get_by_label("Learn from").evaluate(WHOLE)


async def test_all_is_done_with_a_keyboard(staged: None, open_page: Open) -> None:
    page = await open_page("people")
    await page.get_by_role("link", name="ada").focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("link", name="ben")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="ben")).to_be_visible()
    await page.get_by_role("link", name="Skip to the page").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()


async def test_who_skips_to_the_page_while_it_is_loaded_is_not_brought_elsewhere(
    staged: None, open_page: Open
) -> None:
    page = await open_page("people")
    loading, go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        loading.set()
        await go_on.wait()
        await route.continue_()

    await page.route(re.compile(r"/v1/personal-models/ben\b"), hold)
    await page.get_by_role("link", name="ben").click()
    await loading.wait()
    await page.get_by_role("link", name="Skip to the page").focus()
    go_on.set()
    await expect(page.get_by_label("Message to ben")).to_be_visible()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await page.unroute_all(behavior="wait")


async def test_the_first_paint_needs_few_requests_and_bytes(open_page: Open) -> None:
    page = await open_page("door")
    loaded = await page.evaluate(
        "performance.getEntriesByType('resource').map(one => [one.name, one.transferSize])"
    )
    paint = await page.evaluate(
        "performance.getEntriesByType('paint').find(one => one.name === 'first-contentful-paint').startTime"
    )

    total = sum(size for _, size in loaded)
    print(f"first contentful paint after {paint:.0f} ms, {len(loaded)} files, {total} bytes")
    assert total <= DOOR_BYTES_MAX
    assert not [name for name, _ in loaded if "uplot" in name], "a library comes when it is needed"
