"""The console waits for what is slow, says so of what hangs, and asks for each thing once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.actors.turns import wait_until
from tests.runtime.gateway.console.browsing import Open
from tests.runtime.gateway.console.conftest import ConsoleServer
from tests.runtime.gateway.population import Population

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NOT_READY: dict[str, Any] = {
    "status": "not_ready",
    "hosts": "ok",
    "engine": "unavailable",
    "degraded": {},
    "unserved_share": 1.0,
}
LATE = "The server does not answer within 8 s."


@asynccontextmanager
async def held(page: Page, path: str, **answer: Any) -> AsyncGenerator[tuple[list[str], asyncio.Event]]:
    """Answers to a path wait for the event, and are this one then. Yields what was asked, and the event."""
    asked: list[str] = []
    go_on = asyncio.Event()

    async def wait(route: Route) -> None:
        asked.append(route.request.url)
        await go_on.wait()
        await route.fulfill(**answer)

    await page.route(f"**{path}", wait)
    yield asked, go_on
    go_on.set()
    await page.unroute_all(behavior="ignoreErrors")


async def pass_time(page: Page, seconds: int, held_path: str) -> None:
    """Let a page's clock run, as slowly as what is not held is answered in: else that would seem late too."""
    under_way: set[str] = set()
    page.on("request", lambda request: under_way.add(request.url))
    page.on("requestfinished", lambda request: under_way.discard(request.url))

    async def answered() -> bool:
        return all(url.endswith(held_path) for url in under_way)

    for _ in range(seconds):
        await page.clock.run_for(1000)
        # What was asked for before this is known here by now.
        await page.evaluate("fetch('/healthz').then(() => null)")
        await wait_until(answered)


async def test_a_look_that_is_slow_is_waited_for(open_page: Open) -> None:
    page = await open_page("people")
    await page.clock.install()
    await page.get_by_role("link", name="System").click()
    await expect(page.get_by_text("Healthy")).to_be_visible()

    async with held(page, "/readyz", status=503, json=NOT_READY) as (asked, go_on):
        await page.clock.run_for(7000)
        # What was asked for before this is known here by now.
        await page.evaluate("fetch('/healthz').then(() => null)")
        assert len(asked) == 1
        go_on.set()
        await expect(page.get_by_text("Not ready")).to_be_visible()


@pytest.mark.parametrize(("path", "has_health"), [("/readyz", False), ("/metrics", True)])
async def test_what_hangs_is_said_to_and_the_rest_is_shown(
    open_page: Open, path: str, has_health: bool
) -> None:
    page = await open_page("people")
    await page.clock.install()
    await page.get_by_role("link", name="System").click()
    well = page.get_by_text("Healthy")
    await expect(well).to_be_visible()
    await expect(page.get_by_role("region", name="Engines")).to_be_visible()

    async with held(page, path, status=200, json={}):
        await pass_time(page, 11, path)
        await expect(page.get_by_role("alert")).to_contain_text(LATE)
        await expect(well).to_have_count(int(has_health))
        await expect(page.get_by_role("region", name="Engines")).to_be_visible()
        await expect(page.locator(".banner")).to_have_count(0)


async def test_after_an_outage_a_page_is_loaded_once(server: ConsoleServer, open_page: Open) -> None:
    page = await open_page("population")
    await expect(page.get_by_text("Nobody takes part yet")).to_be_visible()
    await page.get_by_role("link", name="People", exact=True).click()
    await expect(page.get_by_role("link", name="ada")).to_be_visible()
    await server.stop()
    await page.get_by_role("link", name="Population").click()
    await expect(page.locator(".banner")).to_be_visible()
    server.start()
    await expect(page.locator(".banner")).to_have_count(0)
    await page.get_by_role("link", name="People", exact=True).click()
    await expect(page.get_by_role("link", name="ada")).to_be_visible()

    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.get_by_role("link", name="Population").click()
    await expect(page.get_by_text("Nobody takes part yet")).to_be_visible()
    assert len([url for url in asked if url.endswith("/v1/population/members")]) == 1


async def test_a_page_that_was_gone_to_in_an_outage_comes_when_the_server_does(
    server: ConsoleServer, open_page: Open
) -> None:
    page = await open_page("people")
    await expect(page.get_by_role("link", name="ada")).to_be_visible()
    await server.stop()
    await page.get_by_role("link", name="System").click()
    await expect(page.locator(".banner")).to_be_visible()
    await expect(page.get_by_text("This page could not be loaded")).to_be_visible()
    server.start()
    await expect(page.get_by_text("Healthy")).to_be_visible()


@pytest.mark.parametrize(("name", "page_name"), [("people", "People"), ("system", "System")])
async def test_a_person_may_be_named_as_a_page_is(
    population: Population, open_page: Open, name: str, page_name: str
) -> None:
    await population.create(name)
    page = await open_page(f"people/{name}")
    await expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()

    await page.get_by_role("link", name=page_name, exact=True).click()
    await expect(page.get_by_role("heading", name=page_name, exact=True)).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
