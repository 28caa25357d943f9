"""A talk in the console goes on while other pages are looked at, and nothing that was written is lost."""

import pytest
from playwright.async_api import Page, expect

from tests.runtime.gateway.console.browsing import Open
from tests.runtime.gateway.console.conftest import ConsoleServer, held_reply
from tests.runtime.gateway.population import Population, chat_body

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

FULL = {"error": {"message": "Too many wait for ada.", "code": "mailbox_full"}}


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message to ada").fill(text)
    await page.keyboard.press("Enter")


async def to_tab(page: Page, name: str) -> None:
    await page.get_by_role("link", name=name, exact=True).click()
    await expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")


async def test_a_reply_goes_on_while_another_tab_is_looked_at(
    population: Population, open_page: Open
) -> None:
    population.engine.reply = ("It", " was", " night.")
    page = await open_page("people/ada/chat")
    feed = page.get_by_role("log")
    async with held_reply(population, before=1):
        await say(page, "Tell me a story.")
        await expect(feed.get_by_text("It", exact=True)).to_be_visible()
        await page.get_by_label("Message to ada").fill("And then")
        await to_tab(page, "What it knows")
        await expect(feed).to_have_count(0)
        await to_tab(page, "Chat")
        await expect(feed.get_by_text("Tell me a story.")).to_be_visible()
        await expect(page.get_by_label("Message to ada")).to_have_value("And then")
        await to_tab(page, "Training")

    await expect(page.get_by_text("Nothing was trained yet")).to_be_visible()
    await to_tab(page, "Chat")
    await expect(feed.get_by_text("It was night.", exact=True)).to_be_visible()
    await expect(feed.get_by_role("article")).to_have_count(1)
    await expect(page.get_by_text("1 turn", exact=True)).to_be_visible()
    assert [turn.reply for turn in await population.log("ada")] == ["It was night."]


async def test_a_message_that_was_refused_is_edited_sent_again_or_dismissed(
    population: Population, open_page: Open
) -> None:
    page = await open_page("people/ada/chat")
    feed, box = page.get_by_role("log"), page.get_by_label("Message to ada")
    await page.route("**/v1/chat/completions", lambda route: route.fulfill(status=429, json=FULL))
    for text in ("first", "second", "third"):
        await say(page, text)
        await expect(feed.get_by_role("article").filter(has_text=text)).to_contain_text("Too many wait")
    await page.unroute_all(behavior="wait")

    await feed.get_by_role("article").filter(has_text="first").get_by_role("button", name="Dismiss").click()
    await expect(feed.get_by_text("first")).to_have_count(0)
    again = feed.get_by_role("article").filter(has_text="second").get_by_role("button", name="Try again")
    await again.click()
    await expect(feed.get_by_text("reply 1 to you")).to_be_visible()
    await feed.get_by_role("article").filter(has_text="third").get_by_role("button", name="Edit").click()
    await expect(box).to_be_focused()
    await expect(box).to_have_value("third")
    await box.press_sequentially(" time")
    await page.keyboard.press("Enter")

    await expect(feed.get_by_text("reply 2 to you")).to_be_visible()
    await expect(feed.get_by_role("alert")).to_have_count(0)
    assert [turn.messages[-1].content for turn in await population.log("ada")] == ["second", "third time"]


async def test_what_was_said_in_another_console_is_there_too(open_page: Open) -> None:
    first = await open_page("people/ada/chat")
    second = await open_page("people/ada/chat")
    for page in (first, second):
        await expect(page.get_by_text("Say something to ada")).to_be_visible()
    await say(first, "from the first")
    await expect(first.get_by_text("reply 1 to you")).to_be_visible()
    await say(second, "from the second")

    turns = second.get_by_role("log").get_by_role("article")
    await expect(turns).to_contain_text(["from the first", "from the second"])
    await say(first, "again")
    turns = first.get_by_role("log").get_by_role("article")
    await expect(turns).to_contain_text(["from the first", "from the second", "again"])


async def test_after_an_outage_the_end_of_the_log_is_loaded(
    server: ConsoleServer, population: Population, open_page: Open
) -> None:
    page = await open_page("people/ada/chat")
    await expect(page.get_by_text("Say something to ada")).to_be_visible()
    await server.stop()
    await say(page, "Are you there?")
    await expect(page.locator(".banner")).to_be_visible()
    async with population.client() as client:
        await client.post("/v1/chat/completions", json=chat_body("said elsewhere", conversation="console"))
    server.start()

    await expect(page.get_by_role("log").get_by_text("said elsewhere")).to_be_visible()


async def test_another_population_has_no_talk_of_this_one(population: Population, open_page: Open) -> None:
    page = await open_page("people/ada/chat")
    await page.get_by_label("Message to ada").fill("a secret")
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_label("API key").fill(population.keys["acme"])
    await page.keyboard.press("Enter")

    await expect(page.get_by_label("Message to ada")).to_have_value("")
