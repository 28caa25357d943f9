"""The map of a population shows all members, and who is chosen on it stays so when it is loaded again."""

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from populace.api.population import PlaceObject, ReportObject
from tests.runtime.gateway.console import staging
from tests.runtime.gateway.console.browsing import Open
from tests.runtime.gateway.console.conftest import ConsoleServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WITHIN = """svg => {
    const shown = svg.viewBox.baseVal;
    return [...svg.querySelectorAll("circle")].every(point => {
        const box = point.getBBox();
        return box.x >= shown.x && box.x + box.width <= shown.x + shown.width
            && box.y >= shown.y && box.y + box.height <= shown.y + shown.height;
    });
}"""


def place(model: str, x: float, cluster: int = 0) -> PlaceObject:
    return PlaceObject(model=model, accuracy=0.7, cluster=cluster, x=x, y=0.0, sharing="votes")


async def map_of(page: Page, shown: list[PlaceObject]) -> None:
    """Go to the population, whose report has these members. What is tried is how they are drawn."""

    async def report(route: Route) -> None:
        found = ReportObject(
            members=tuple(shown),
            unprofiled=(),
            total=len(shown),
            profiled=len(shown),
            clusters=len({one.cluster for one in shown}),
            disagreement=None,
            double_fault=None,
            error_correlation=None,
            effective_members=None,
            best=0.7,
            mean=0.7,
            curve=(),
        )
        await route.fulfill(content_type="application/json", body=found.model_dump_json())

    await page.route("**/v1/population/report", report)
    await page.get_by_role("link", name="Population").click()
    await page.get_by_text("Advanced: who answers alike").click()
    await expect(page.get_by_role("button", name="Cluster 1")).to_be_visible()


async def load_again(server: ConsoleServer, page: Page) -> None:
    """Have the server go away and come back: a page that noticed it loads all that it shows again."""
    await server.stop()
    await page.get_by_label("Ask them all").fill("Who is there?")
    await page.get_by_role("button", name="Ask").click()
    await expect(page.locator(".banner")).to_be_visible()
    server.start()
    await expect(page.locator(".banner")).to_have_count(0)


async def test_who_is_chosen_stays_chosen_until_they_leave(
    client: httpx.AsyncClient, server: ConsoleServer, open_page: Open
) -> None:
    await staging.share(client, ("ada",))
    page = await open_page("people")
    shown = [place("ada", 0.0), place("bob", 0.1), place("cyd", 0.2, cluster=1)]
    await map_of(page, shown)
    points = page.get_by_role("listbox", name="Map").get_by_role("option")
    await page.get_by_role("listbox", name="Map").focus()
    await page.keyboard.press("End")
    await page.get_by_role("button", name="Cluster 2 1").click()
    await expect(page.locator("figcaption")).to_contain_text("cyd: cluster 2")

    del shown[0]
    await load_again(server, page)
    await expect(points).to_have_count(2)
    await expect(page.locator("figcaption")).to_contain_text("cyd: cluster 2")
    await expect(page.locator("circle.faded")).to_have_count(1)
    del shown[1]
    await load_again(server, page)
    await expect(points).to_have_count(1)
    await expect(page.locator("figcaption")).to_contain_text("Choose one")
    await expect(page.locator("circle.faded")).to_have_count(0)
    await page.get_by_role("listbox", name="Map").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("figcaption")).to_contain_text("bob: cluster 1")


async def test_large_clusters_of_members_alike_are_shown_whole(
    client: httpx.AsyncClient, open_page: Open
) -> None:
    await staging.share(client, ("ada",))
    page = await open_page("people")
    members = [place(f"p{number:03}", number % 2, number % 2) for number in range(400)]
    await map_of(page, members)

    picture = page.get_by_role("listbox", name="Map")
    await expect(picture.get_by_role("option")).to_have_count(len(members))
    assert await picture.evaluate(WITHIN)


async def test_of_members_who_all_answer_alike_it_is_said_and_no_map_is_drawn(
    client: httpx.AsyncClient, open_page: Open
) -> None:
    await staging.share(client, ("ada",))
    page = await open_page("people")
    await map_of(page, [place(name, 0.1) for name in ("ada", "bob", "cyd")])

    await expect(page.get_by_text("answer the probes alike")).to_be_visible()
    await expect(page.get_by_role("listbox", name="Map")).to_have_count(0)
