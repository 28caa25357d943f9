"""What the console's system page makes of the gateway's figures."""

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.runtime.gateway.console.browsing import Open

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

REQUESTS = 'populace_http_requests_total{{gateway="0",route="/v1/models",status="200"}} {}\n'
FIRST_TOKEN = "\n".join(
    f'populace_first_token_seconds_bucket{{{{le="{edge}"}}}} {{}}'
    for edge in ("0.01", "0.025", "5.0", "+Inf")
)
BEFORE = REQUESTS.format(40) + FIRST_TOKEN.format(0, 6, 6, 6)
RESTARTED = REQUESTS.format(2) + FIRST_TOKEN.format(0, 0, 1, 1)
LATER = REQUESTS.format(60) + FIRST_TOKEN.format(0, 0, 9, 9)
REFUSED = """
populace_errors_total{code="mailbox_full"} 2
populace_errors_total{code="engine_overloaded"} 1
populace_errors_total{code="engine_unavailable"} 40
populace_http_requests_total{route="/readyz",status="503"} 70
"""


def tile(page: Page, title: str) -> Locator:
    return page.locator(".tile").filter(has_text=title).locator(".value")


async def test_a_counter_that_falls_begins_anew(open_page: Open) -> None:
    figures = BEFORE
    page = await open_page("people")

    async def answer(route: Route) -> None:
        await route.fulfill(content_type="text/plain", body=figures)

    await page.route("**/metrics", answer)
    await page.get_by_role("link", name="System").click()
    value = tile(page, "First token")
    await expect(value).to_have_text("18 ms")
    figures = RESTARTED
    await expect(value).to_have_text("2.5 s")
    # More was counted since than before: it is still all of the new count.
    figures = LATER
    await expect(tile(page, "Requests")).to_have_text("60")
    await expect(value).to_have_text("2.5 s")
    await page.unroute_all(behavior="wait")


async def test_what_several_gateways_count_is_added_up(open_page: Open) -> None:
    figures = "".join(
        f'{name}{{gateway="{gateway}",{label}}} {value}\n'
        for gateway, values in ((0, (4, 9, 9, 9)), (1, (6, 1, 1, 11)))
        for name, label, value in (
            ("populace_http_requests_total", 'route="/v1/models",status="200"', values[0]),
            ("populace_first_token_seconds_bucket", 'le="0.01"', values[1]),
            ("populace_first_token_seconds_bucket", 'le="5.0"', values[2]),
            ("populace_first_token_seconds_bucket", 'le="+Inf"', values[3]),
        )
    )
    page = await open_page("people")
    await page.route("**/metrics", lambda route: route.fulfill(content_type="text/plain", body=figures))
    await page.get_by_role("link", name="System").click()

    await expect(tile(page, "Requests")).to_have_text("10")
    # Ten of twenty lie below the first bound; of the second gateway alone, most lie above the last one.
    await expect(tile(page, "First token")).to_have_text("10 ms")
    await page.unroute_all(behavior="wait")


async def test_only_what_was_too_much_counts_as_refused(open_page: Open) -> None:
    page = await open_page("people")
    await page.route("**/metrics", lambda route: route.fulfill(content_type="text/plain", body=REFUSED))
    await page.get_by_role("link", name="System").click()

    await expect(tile(page, "Refused")).to_have_text("3")
    await page.unroute_all(behavior="wait")
