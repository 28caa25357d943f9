"""Conversations are listed and gone on with, a reply is made anew, a message is sent again otherwise."""

import asyncio

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from tests.runtime.gateway.console import staging
from tests.runtime.gateway.console.browsing import PHONE, Open
from tests.runtime.gateway.population import Population, chat_body

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PATH = "../../etc/passwd?a#b %2f"
"""What a client may call a conversation."""


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message to ada").fill(text)
    await page.keyboard.press("Enter")
    replied = page.get_by_role("article").filter(has_text=text)
    await expect(replied.last.get_by_role("button", name="Copy").first).to_be_visible()


async def test_conversations_are_begun_listed_and_gone_on_with(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    await client.post("/v1/chat/completions", json=chat_body("from a program", conversation=PATH))
    await client.post("/v1/chat/completions", json=chat_body("all by itself"))
    page = await open_page("people/ada/chat")
    feed = page.get_by_role("log")
    listed = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    await expect(listed).to_contain_text(["Requests of other programs", "from a program"])
    await expect(feed.get_by_text("all by itself")).to_be_visible()

    await page.get_by_role("button", name="New conversation").click()
    await expect(page.get_by_text("Say something to ada")).to_be_visible()
    await say(page, "My dog is called Bruno.")
    await expect(listed.first).to_contain_text("My dog is called Bruno.")
    await listed.filter(has_text="from a program").click()
    await expect(feed.get_by_role("article")).to_have_count(1)
    await say(page, "and on")
    await page.reload()
    await expect(feed.get_by_role("article")).to_contain_text(["from a program", "and on"])

    told = [(turn.messages[-1].content, turn.conversation) for turn in await population.log("ada")]
    assert told[0] == ("from a program", PATH)
    assert told[1] == ("all by itself", None)
    assert told[2][1] not in (None, PATH)
    assert told[3] == ("and on", PATH)


async def test_a_long_list_of_conversations_comes_in_parts(
    client: httpx.AsyncClient, open_page: Open
) -> None:
    for number in range(70):
        await client.post("/v1/chat/completions", json=chat_body(f"talk {number}", conversation=f"c{number}"))
    page = await open_page("people/ada/chat", size=PHONE)
    await page.get_by_role("button", name="Conversations", exact=True).click()
    nav = page.get_by_role("navigation", name="Conversations")
    await expect(nav.get_by_role("link")).to_have_count(30)

    await nav.get_by_role("list").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    await expect(nav.get_by_role("link")).to_have_count(60)
    await nav.get_by_role("list").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    await expect(nav.get_by_role("link")).to_have_count(70)
    await expect(nav.get_by_role("button", name="Earlier conversations")).to_have_count(0)
    await nav.get_by_role("link", name="talk 3 just now").click()
    await expect(page.get_by_role("log").get_by_text("talk 3", exact=True)).to_be_visible()


async def test_a_reply_is_made_anew_and_a_message_sent_again_otherwise(
    population: Population, open_page: Open
) -> None:
    page = await open_page("people/ada/chat")
    feed = page.get_by_role("log")
    for text in ("one", "two", "three"):
        await say(page, text)
    anew = page.get_by_role("button", name="Make the reply anew")
    await expect(anew).to_have_count(1)
    await anew.click()
    await expect(feed.get_by_text("Turn 2 was forgotten.")).to_be_visible()
    await expect(feed.get_by_text("reply 4", exact=False)).to_be_visible()

    await page.get_by_role("button", name="Edit and send again").nth(1).click()
    await expect(page.get_by_label("Message to ada")).to_have_value("two")
    await expect(page.get_by_text("Sending forgets this turn and 1 turn after it.")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_label("Message to ada")).to_have_value("")
    await page.get_by_role("button", name="Edit and send again").nth(1).click()
    await say(page, "two and a half")

    kept = [turn.messages[-1].content for turn in await population.log("ada") if not turn.forgotten]
    assert [text for text in kept if not text.startswith("{")] == ["one", "two and a half"]


async def test_a_message_that_leaves_no_trace_and_another_revision_are_in_no_log(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    await staging.talk(population, client)
    digest = await staging.promoted(population, client, "one")
    await client.post(f"{staging.MODELS}/ada/rollback", json={})
    before = await population.log("ada")
    page = await open_page("people/ada/chat")
    none = page.get_by_text("no trace of this turn is kept")
    await page.get_by_role("checkbox", name="Leave no trace").check()
    await say(page, "between us")
    await expect(none).to_have_count(1)
    await page.get_by_role("checkbox", name="Leave no trace").uncheck()

    await page.get_by_label("Which revision answers").select_option(label="the base alone")
    await expect(page.get_by_role("checkbox", name="Leave no trace")).to_be_checked()
    await say(page, "to the base")
    await page.get_by_label("Which revision answers").select_option(f"@{digest}")
    await say(page, "to the former one")
    await expect(none).to_have_count(3)
    # The same again: there is no turn to forget.
    await page.get_by_role("button", name="Make the reply anew").click()
    await expect(none).to_have_count(3)

    assert await population.log("ada") == before
    assert population.engine.requests[-1].adapter is not None


async def test_a_link_to_a_turn_leads_to_what_was_said_there(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    await staging.talk(population, client)
    page = await open_page("people/ada/chat")
    await page.get_by_role("article").first.get_by_role("link", name="turn 0").click()
    source = page.locator(".source .sheet")
    await expect(source).to_contain_text("My dog is called Bruno")
    await expect(source.get_by_role("button", name="A good reply")).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("link", name="To the conversation").click()
    await expect(page.get_by_role("article")).to_have_count(3)

    for wrong in ("99", "-1", "x", "1e99"):
        await page.evaluate(f"location.hash = '#/people/ada/turn/{wrong}'")
        await expect(page.get_by_text("The log has no such turn")).to_be_visible()


async def test_a_proxy_that_ends_long_requests_costs_no_reply_and_makes_no_second_turn(
    population: Population, open_page: Open
) -> None:
    page = await open_page("people/ada/chat")
    cut = True

    async def through(route: Route) -> None:
        nonlocal cut
        if cut:
            cut = False
            await route.fulfill(status=504, content_type="text/html", body="<h1>Gateway Timeout</h1>")
        else:
            await route.continue_()

    await page.route("**/v1/chat/completions", through)
    await say(page, "x" * 90_000)

    assert [len(turn.messages[-1].content) for turn in await population.log("ada")] == [90_000]
    await page.unroute_all(behavior="wait")


async def test_a_message_that_is_too_long_is_refused_by_name_and_stays_to_be_shortened(
    open_page: Open,
) -> None:
    page = await open_page("people/ada/chat")
    box = page.get_by_label("Message to ada")
    await box.fill("x" * 200_000)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("larger than 100000 bytes")
    await page.get_by_role("button", name="Edit", exact=True).click()

    assert len(await box.input_value()) == 200_000


async def test_one_goes_from_person_to_person_and_a_name_that_is_a_path_is_none(
    population: Population, open_page: Open
) -> None:
    await population.create("bob")
    page = await open_page("people/ada/chat")
    began = asyncio.Event()

    async def after_the_next(route: Route) -> None:
        await began.wait()
        await route.continue_()

    await page.route("**/v1/personal-models?*prefix=", after_the_next)
    other = page.get_by_label("Go to another person")
    await other.fill("b")
    offered = page.locator("datalist option")
    await expect(offered).to_have_count(1)
    async with page.expect_response("**/v1/personal-models?*prefix=") as late:
        began.set()
    await (await late.value).finished()
    await page.evaluate("new Promise(requestAnimationFrame)")
    assert [await one.get_attribute("value") for one in await offered.all()] == ["bob"]
    await other.fill("bob")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Message to bob")).to_be_visible()

    await other.fill(PATH)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=PATH)).to_be_visible()
    await expect(page.get_by_role("alert").first).to_contain_text("does not exist")
