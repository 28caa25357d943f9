"""Signing in and out: what a browser keeps, what other tabs hear of it, and what a newer console does."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.runtime.gateway.console.browsing import Open, sign_in
from tests.runtime.gateway.console.conftest import ConsoleServer
from tests.runtime.gateway.population import Population
from tests.runtime.gateway.test_access import altered

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

KEPT = "localStorage.getItem('populace.key')"
FORBID = """Object.defineProperty(window, 'localStorage', {
    get() { throw new DOMException('denied', 'SecurityError'); },
});"""

Tab = Callable[[], Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(server: ConsoleServer, browser: Browser) -> AsyncGenerator[Tab]:
    """Open the console in another tab of one browser."""
    context = await browser.new_context()

    async def open_tab() -> Page:
        tab = await context.new_page()
        await tab.goto(f"{server.url}/console")
        return tab

    yield open_tab
    await context.close()


async def stay_signed_in(page: Page, key: str) -> None:
    await page.get_by_label("Stay signed in").check()
    await sign_in(page, key)


async def test_who_signs_out_is_signed_out_in_every_tab(population: Population, open_tab: Tab) -> None:
    first = await open_tab()
    await stay_signed_in(first, population.keys["acme"])
    second = await open_tab()
    await expect(second.get_by_role("heading", name="People")).to_be_visible()
    await second.get_by_role("button", name="Sign out").click()

    await expect(first.get_by_role("alert")).to_contain_text("signed out in another tab")
    assert await first.evaluate(KEPT) is None


async def test_a_key_that_is_refused_leaves_the_one_of_another_tab(
    population: Population, open_tab: Tab
) -> None:
    first = await open_tab()
    await stay_signed_in(first, population.keys["acme"])
    # Another tab signs in with a newer key, and this one's is no longer valid.
    second = await open_tab()
    await second.evaluate("key => localStorage.setItem('populace.key', key)", population.keys["globex"])
    await first.route("**/v1/population/members", lambda route: route.fulfill(status=401, json={}))
    await first.get_by_role("link", name="Population").click()

    await expect(first.get_by_role("alert")).to_contain_text("no longer valid")
    assert await first.evaluate(KEPT) == population.keys["globex"]
    await second.reload()
    await expect(second.get_by_text("globex")).to_be_visible()


async def test_a_key_that_no_header_can_carry_is_told_from_a_server_that_is_away(open_page: Open) -> None:
    page = await open_page("door")
    await page.get_by_label("API key").fill("populace_…")
    await page.get_by_role("button", name="Sign in").click()

    await expect(page.get_by_role("alert")).to_contain_text("This is no API key")
    await expect(page.locator(".banner")).to_have_count(0)


async def test_a_command_in_an_error_is_shown_as_code(population: Population, open_page: Open) -> None:
    page = await open_page("door")
    await page.get_by_label("API key").fill(altered(population.keys["acme"]))
    await page.get_by_role("button", name="Sign in").click()

    alert = page.get_by_role("alert")
    await expect(alert.get_by_text("populace key create", exact=True)).to_be_visible()
    await expect(alert).not_to_contain_text("`")


async def test_without_storage_one_is_signed_in_until_the_page_is_left(
    population: Population, open_page: Open
) -> None:
    page = await open_page("door")
    await page.add_init_script(FORBID)
    await page.reload()
    await stay_signed_in(page, population.keys["acme"])
    await page.get_by_role("button", name="Switch between light and dark").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")

    await page.reload()
    await expect(page.get_by_label("API key")).to_be_visible()


async def test_after_an_upgrade_a_part_that_is_gone_is_not_taken_for_another(open_page: Open) -> None:
    page = await open_page("people/ada/chat")
    await expect(page.get_by_label("Message to ada")).to_be_visible()
    await page.route("**/revisions.mjs", lambda route: route.fulfill(status=404, body=""))
    await page.get_by_role("link", name="Advanced").click()

    await expect(page.get_by_role("alert")).to_contain_text("may have a newer console")
    await expect(page.get_by_label("Message to ada")).to_have_count(0)


async def test_a_part_of_a_person_that_is_none_is_the_chat(open_page: Open) -> None:
    page = await open_page("people/ada/nowhere")

    await expect(page.get_by_label("Message to ada")).to_be_visible()
    await expect(page.get_by_role("link", name="Chat", exact=True)).to_have_attribute("aria-current", "page")
