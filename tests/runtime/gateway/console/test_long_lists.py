"""Long lists of people in a real browser: what is drawn, scrolled and searched."""

from typing import Any

import httpx
import pytest
from playwright.async_api import Route, expect

from tests.runtime.gateway.console.browsing import Open, sign_in
from tests.runtime.gateway.population import Population

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ROWS_DRAWN_MAX = 60
ROW_PX = 58

PERSON: dict[str, Any] = {"created": 0, "log_position": 3, "aliases": {}, "active": False, "begins_on": None}
SCROLL_TO = """async ([end, name]) => {
    const box = document.querySelector(".scroller");
    while (![...box.querySelectorAll("b")].some(found => found.textContent === name)) {
        box.scrollTop = end ? box.scrollHeight : 0;
        await new Promise(done => setTimeout(done, 5));
    }
    return box.querySelector("ul").offsetHeight;
}"""


async def test_a_long_list_of_people_scrolls_and_is_searched(population: Population, open_page: Open) -> None:
    for number in range(450):
        await population.create(f"p{number:04d}")
    page = await open_page("people")
    rows = page.get_by_role("list", name="People").get_by_role("listitem")
    scroller = page.locator(".scroller")
    for counted in ("More than 400 people", "451 people"):
        await expect(page.get_by_text(counted, exact=True)).to_be_visible()
        await scroller.evaluate("box => box.scrollTo(0, box.scrollHeight)")

    await expect(rows.filter(has_text="p0449")).to_be_visible()
    assert await rows.count() <= ROWS_DRAWN_MAX
    await page.keyboard.press("/")
    await page.keyboard.type("p012")
    await expect(page.get_by_text("10 people", exact=True)).to_be_visible()
    await page.get_by_label("Find people").fill("zz")
    await expect(page.get_by_text("Nobody's name begins with")).to_be_visible()


async def test_a_page_of_the_list_that_failed_is_asked_for_again(
    population: Population, open_page: Open
) -> None:
    for number in range(230):
        await population.create(f"p{number:04d}")
    page = await open_page("door")
    is_away = True

    async def answer(route: Route) -> None:
        if is_away and "after=" in route.request.url:
            await route.fulfill(status=503, json={"error": {"message": "It is away.", "code": "away"}})
        else:
            await route.continue_()

    await page.route("**/v1/personal-models?*", answer)
    await sign_in(page, population.keys["acme"])
    await expect(page.get_by_role("alert")).to_contain_text("It is away.")
    is_away = False
    await page.get_by_role("button", name="Try again").click()

    await expect(page.get_by_text("231 people", exact=True)).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_what_the_list_does_without_is_named_until_it_is_there_again(
    population: Population, open_page: Open
) -> None:
    page = await open_page("door")
    missing = ["shard 3", "bob"]

    async def answer(route: Route) -> None:
        found = await route.fetch()
        await route.fulfill(response=found, json=await found.json() | {"missing": missing})

    await page.route("**/v1/personal-models?*", answer)
    await sign_in(page, population.keys["acme"])
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("This list does without bob, shard 3")
    await expect(page.get_by_text("1 person", exact=True)).to_be_visible()
    missing.clear()
    await alert.get_by_role("button", name="Try again").click()

    await expect(alert).to_have_count(0)
    await expect(page.get_by_role("link", name="ada")).to_be_visible()


async def test_a_high_screen_is_filled_before_one_scrolls(population: Population, open_page: Open) -> None:
    for number in range(60):
        await population.create(f"p{number:04d}")
    page = await open_page("people", size=(1280, 2600))
    rows = page.get_by_role("list", name="People").get_by_role("listitem")

    height = await page.locator(".scroller").evaluate("box => box.clientHeight")
    await expect(rows.nth(height // ROW_PX - 1)).to_be_visible()


async def test_more_people_than_a_browser_can_draw_scroll_to_the_last_one_and_back(
    population: Population, open_page: Open
) -> None:
    # They are made up here, because what is tried is the page; that pages are found is tried elsewhere.
    count, drawn_max = 130_000, 8_000_000

    async def answer(route: Route) -> None:
        query = httpx.URL(route.request.url).params
        start = int(query["after"][1:]) + 1 if "after" in query else 0
        names = [f"p{number:06d}" for number in range(start, min(start + int(query["limit"]), count))]
        after = names[-1] if start + len(names) < count else None
        await route.fulfill(json={"data": [{**PERSON, "id": name} for name in names], "after": after})

    page = await open_page("door")
    await page.route("**/v1/personal-models?*", answer)
    await sign_in(page, population.keys["acme"])
    await page.goto(page.url.replace("door", "people"))

    await expect(page.get_by_role("link", name="p000000")).to_be_visible()
    height = await page.evaluate(SCROLL_TO, [True, f"p{count - 1:06d}"])
    await expect(page.get_by_text("130,000 people", exact=True)).to_be_visible()
    assert height < drawn_max
    assert await page.evaluate(SCROLL_TO, [False, "p000000"]) < drawn_max
    assert await page.get_by_role("list", name="People").get_by_role("listitem").count() <= ROWS_DRAWN_MAX
