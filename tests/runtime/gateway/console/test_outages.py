"""The console's system page tells what is wrong, whatever answers, and a look-up waits for its turn."""

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from tests.runtime.gateway.conftest import HeldSearches
from tests.runtime.gateway.console.browsing import Open
from tests.runtime.gateway.console.conftest import ConsoleServer
from tests.runtime.gateway.population import Population
from tests.runtime.gateway.test_operations import survey_without
from tests.runtime.gateway.test_request_logs import Logging

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SECOND_REPLICA = """
populace_engine_running{replica="1"} 0
populace_engine_kv_used_ratio{replica="1"} 0.5
populace_engine_generation_tokens_total{replica="1"} 5000
"""


async def answered_by_a_proxy(page: Page, path: str, status: int) -> None:
    """Have a page of HTML answer, as from something between the browser and the server."""
    await page.route(
        f"**{path}",
        lambda route: route.fulfill(status=status, content_type="text/html", body="<h1>Gateway</h1>"),
    )


async def test_a_proxys_page_in_place_of_readiness_is_told_and_ends_with_the_outage(open_page: Open) -> None:
    page = await open_page("people")
    await answered_by_a_proxy(page, "/readyz", 502)
    await page.get_by_role("link", name="System").click()
    alert = page.get_by_role("alert").filter(has_text="The server answered 502.")

    await expect(alert).to_be_visible()
    await page.unroute("**/readyz")
    await expect(page.get_by_text("Healthy")).to_be_visible()
    await expect(alert).to_have_count(0)
    # Now there are figures from before, which stay, but not that all is well.
    await answered_by_a_proxy(page, "/readyz", 502)
    await expect(alert).to_be_visible()
    await expect(page.get_by_text("Healthy")).to_have_count(0)
    await expect(page.get_by_role("region", name="Engines")).to_be_visible()


async def test_a_proxys_page_in_place_of_a_list_is_told(open_page: Open) -> None:
    page = await open_page("system")
    await answered_by_a_proxy(page, "/v1/personal-models*", 200)
    await page.get_by_role("link", name="People").click()
    alert = page.get_by_role("alert")

    await expect(alert).to_contain_text("What answered is not Populace.")
    await expect(alert).to_contain_text("A proxy between this page and the server")


async def test_metrics_that_fail_are_not_said_to_be_elsewhere(open_page: Open) -> None:
    page = await open_page("people")
    await answered_by_a_proxy(page, "/metrics", 500)
    await page.get_by_role("link", name="System").click()

    await expect(page.get_by_role("alert")).to_contain_text("The server answered 500.")
    await expect(page.get_by_text("Healthy")).to_be_visible()
    await expect(page.get_by_text("POPULACE_METRICS_PORT")).to_have_count(0)
    await page.unroute("**/metrics")
    await expect(page.get_by_role("region", name="Engines")).to_be_visible()


async def test_a_replica_that_was_away_has_no_rate_until_it_was_seen_for_a_while(open_page: Open) -> None:
    second = ""

    async def figures(route: Route) -> None:
        plain = await (await route.fetch()).text()
        await route.fulfill(content_type="text/plain", body=plain + second)

    page = await open_page("people")
    await page.route("**/metrics", figures)
    await page.get_by_role("link", name="System").click()
    rows = page.get_by_role("region", name="Engines").get_by_role("row")
    await expect(rows).to_have_count(2)
    second = SECOND_REPLICA
    cells = rows.filter(has=page.get_by_role("cell", name="1", exact=True)).get_by_role("cell")
    rate = cells.nth(3)

    # All of its 5000 tokens within one look were no rate.
    await expect(rate).to_have_text("–")
    await expect(rate).to_have_text("0.0")
    await page.unroute_all(behavior="wait")


async def test_a_look_up_is_done_after_the_one_that_runs(
    population: Population, client: httpx.AsyncClient, open_page: Open, held_searches: HeldSearches
) -> None:
    log = Logging(population)
    await client.get("/v1/models", headers={"x-request-id": "mine"})
    log.settle()
    page = await open_page("system/requests/other")
    await held_searches.began.wait()
    await page.get_by_label("Request id").fill("mine")
    await page.get_by_role("button", name="Look up").click()

    waits = page.get_by_role("status").filter(has_text="The server looks up another request")
    await expect(waits).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)
    held_searches.go_on()
    await expect(page.get_by_text("/v1/models was answered with 200")).to_be_visible()
    await expect(waits).to_have_count(0)
    log.end()


async def test_an_outage_is_over_once_the_server_answers_also_without_an_engine(open_page: Open) -> None:
    page = await open_page("people")
    await page.route("**/v1/personal-models*", lambda route: route.abort())
    await answered_by_a_proxy(page, "/readyz", 503)
    await page.get_by_role("link", name="Population").click()
    await page.get_by_role("link", name="People").click()
    await expect(page.locator(".banner")).to_be_visible()
    await page.unroute("**/v1/personal-models*")

    await expect(page.locator(".banner")).to_have_count(0)
    await expect(page).to_have_title("People · Populace")


@pytest.mark.parametrize("place", ["constructor", "toString", "nowhere"])
async def test_a_place_that_is_none_is_the_list_of_people(open_page: Open, place: str) -> None:
    page = await open_page(place)

    await expect(page.get_by_role("heading", name="People")).to_be_visible()


async def test_what_of_the_system_is_away_is_named(
    server: ConsoleServer, population: Population, open_page: Open
) -> None:
    await server.stop()
    population.survey = survey_without(population, 1)
    population.app = population.make_app(replicas=2)
    server.start()
    page = await open_page("system")

    status = page.get_by_role("status").filter(has_text="Degraded")
    await expect(status.get_by_role("listitem").filter(has_text="host-1 does not answer")).to_be_visible()
    await expect(status).to_contain_text("engine replica 1 does not answer")
    await expect(status).to_contain_text("50 % of the people are refused")
    hosts = page.get_by_role("region", name="Hosts").get_by_role("row")
    await expect(hosts.filter(has_text="host-1")).to_contain_text("does not answer")
    await expect(page.get_by_text("1 of 2 answer")).to_be_visible()


async def test_without_metrics_beside_it_the_system_says_where_they_are(
    server: ConsoleServer, population: Population, open_page: Open
) -> None:
    await server.stop()
    population.app = population.make_app(has_metrics=False)
    server.start()
    page = await open_page("system")

    await expect(page.get_by_text("POPULACE_METRICS_PORT")).to_be_visible()
    await expect(page.get_by_text("Healthy")).to_be_visible()
    await expect(page.get_by_text("Nothing was trained yet")).to_be_visible()
