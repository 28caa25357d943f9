"""What a person does in the console, in a real browser, against the real gateway and store."""

import re

import httpx
import pytest
from playwright.async_api import Page, expect

from populace.actors.errors import EngineUnavailable
from populace.actors.training import JobProgress
from populace.actors.turn import ModelId
from tests.actors.trainings import trained
from tests.runtime.gateway.console import staging
from tests.runtime.gateway.console.browsing import Open
from tests.runtime.gateway.console.conftest import ConsoleServer, held_reply
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE
from tests.runtime.gateway.test_access import altered
from tests.runtime.gateway.test_population import profile
from tests.runtime.gateway.test_request_logs import Logging
from tests.runtime.gateway.test_traces import TURN

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ADA = ModelId("acme", "ada")


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message to ada").fill(text)
    await page.keyboard.press("Enter")


async def test_a_person_signs_in_creates_a_model_and_talks_with_it(
    server: ConsoleServer, population: Population, open_page: Open
) -> None:
    page = await open_page("door")
    await page.get_by_label("API key").fill(altered(population.keys["acme"]))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("key")
    await page.get_by_label("API key").fill(population.keys["acme"])
    await page.keyboard.press("Enter")

    await page.get_by_label("Name of a new person").fill("<b>Eve</b>")
    await page.get_by_role("button", name="Create").click()
    refused = page.get_by_role("alert").filter(has_text="<b>Eve</b>")
    await expect(refused.get_by_role("link", name="req_")).to_be_visible()
    await page.get_by_label("Name of a new person").fill("eve")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", name="eve", exact=True)).to_be_visible()
    await expect(page.get_by_text("Say something to eve")).to_be_visible()
    await expect(page.get_by_label("Message to eve")).to_be_focused()
    await expect(refused).to_have_count(0)

    population.engine.reply = ("Nice", " to", " meet", " you.")
    feed = page.get_by_role("log")
    async with held_reply(population, before=2):
        await page.get_by_label("Message to eve").fill(staging.MARKUP)
        await page.keyboard.press("Enter")
        await expect(feed.get_by_text("Nice to", exact=True)).to_be_visible()
    await expect(feed.get_by_text("Nice to meet you.", exact=True)).to_be_visible()

    await expect(feed.get_by_text(staging.MARKUP, exact=True)).to_be_visible()
    assert await feed.locator("img, b").count() == 0
    [turn] = await population.log("eve")
    assert (turn.messages[-1].content, turn.reply) == (staging.MARKUP, "Nice to meet you.")


async def test_replies_are_judged_corrected_and_forgotten(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    population.engine.reply = ("Your dog is", " Rex.")
    page = await open_page("people/ada/chat")
    await say(page, "What is my dog called?")
    turn = page.get_by_role("log").get_by_role("article")

    await turn.get_by_role("button", name="A bad reply").click()
    await expect(turn.get_by_role("button", name="A bad reply")).to_have_attribute("aria-pressed", "true")
    await turn.get_by_role("button", name="Correct").click()
    await turn.get_by_label("What the reply should have been").fill("Your dog is Bruno.")
    await turn.get_by_role("button", name="Keep this").click()
    await expect(turn.get_by_text("Your dog is Bruno.")).to_be_visible()
    await page.reload()
    await expect(turn.get_by_text("Your dog is Bruno.")).to_be_visible()

    given = (await client.get("/v1/personal-models/ada/feedback")).json()["data"]
    assert [(one["thumb"], one["correction"]) for one in given] == [
        ("down", None),
        (None, "Your dog is Bruno."),
    ]

    await turn.get_by_role("button", name="Forget").click()
    await page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    await expect(turn).to_have_text("Turn 0 was forgotten.")
    assert (await population.log("ada"))[0].forgotten
    await page.reload()
    # Of which conversation it was is forgotten too.
    await expect(page.get_by_text("Say something to ada")).to_be_visible()


async def test_of_a_reply_that_is_stopped_the_message_is_kept(
    population: Population, open_page: Open
) -> None:
    population.engine.reply = ("Once", " upon", " a", " time")
    page = await open_page("people/ada/chat")
    async with held_reply(population, before=1):
        await say(page, "Tell me a story.")
        await expect(page.get_by_role("log").get_by_text("Once", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Stop the reply").click()
        await expect(page.get_by_text("what you said is kept, without a reply")).to_be_visible()
        await population.engine.wait_freed()

    assert [turn.answer for turn in await population.log("ada")] == [None]
    await page.reload()
    turn = page.get_by_role("log").get_by_role("article")
    await expect(turn.get_by_text("Tell me a story.")).to_be_visible()
    await expect(turn.get_by_text("No reply")).to_be_visible()
    await expect(turn.get_by_role("button", name="Correct")).to_have_count(0)
    await expect(turn.get_by_role("button", name="Forget")).to_be_visible()


async def test_a_training_is_watched_cancelled_promoted_and_rolled_back(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    await staging.talk(population, client)
    page = await open_page("people/ada/training")
    await page.get_by_role("button", name="Train", exact=True).click()
    await expect(page.get_by_role("heading", name="Training 0")).to_be_visible()

    job = await population.directory.jobs.start(ADA, 0)
    for steps in (10, 20):
        await staging.report(population, job, steps)
        await expect(page.get_by_text(f"{steps} of 60")).to_be_visible()
    await expect(page.get_by_role("img", name=re.compile("^loss by step")).locator("canvas")).to_be_visible()
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel the training").click()
    await expect(page.get_by_role("button", name="Train", exact=True)).to_be_visible()
    assert [one.state for one in await population.directory.jobs.of_model(ADA)] == ["cancelled"]

    await page.get_by_role("button", name="Train", exact=True).click()
    await expect(page.get_by_role("heading", name="Training 1")).to_be_visible()
    job = await population.directory.jobs.start(ADA, 1)
    made = trained(job, "new")
    await population.directory.jobs.finish(ADA, 1, made, JobProgress(step=4, steps=4, loss=0.5))
    await expect(page.get_by_text("promoted", exact=True)).to_be_visible()
    await page.get_by_role("link", name="Advanced").click()
    await page.get_by_role("button", name="Roll back").click()
    await page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    await expect(page.get_by_role("button", name="Serve it")).to_be_visible()
    assert (await population.directory.show_model(ADA)).aliases == {}

    await page.get_by_role("button", name="Serve it").click()
    await page.get_by_role("dialog").get_by_role("button", name="Serve it").click()
    await expect(page.get_by_role("button", name="Roll back")).to_be_visible()
    assert (await population.directory.show_model(ADA)).aliases == {"latest": made.digest}


async def test_the_population_is_asked_and_its_votes_arrive(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    page = await open_page("population")
    await expect(page.get_by_text("Nobody takes part yet")).to_be_visible()
    for name in ("bob", "cyd"):
        await population.create(name)
    await staging.share(client, ("ada", "bob", "cyd"))
    population.engine.reply = (" Rome",)

    await page.reload()
    await page.get_by_label("Ask them all").fill("Which one is in Italy?")
    await page.get_by_label("Choices").fill("Paris, Rome, Oslo")
    await page.get_by_role("button", name="Ask").click()

    await expect(page.get_by_text("3 of 3 voted")).to_be_visible()
    await expect(page.get_by_role("listitem").filter(has_text="ada: Rome")).to_be_visible()


async def test_the_map_of_a_population_is_walked_with_a_keyboard(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    names = ("ada", "bob", "cyd", "dan")
    for name in names[1:]:
        await population.create(name)
    await staging.share(client, names)
    page = await open_page("population")
    await page.get_by_text("Advanced: who answers alike").click()
    await expect(page.get_by_text("4 members not known yet.")).to_be_visible()
    for name, seed in (("ada", 1), ("bob", 1), ("cyd", 2)):
        await profile(population, name, seed)
    await page.reload()
    await page.get_by_text("Advanced: who answers alike").click()

    places = page.get_by_role("listbox", name="Map")
    await expect(places.get_by_role("option")).to_have_count(3)
    await expect(page.get_by_text("3 members in 2 clusters")).to_be_visible()
    await places.focus()
    await page.keyboard.press("Home")
    await expect(places.get_by_role("option", name="ada")).to_have_attribute("aria-selected", "true")
    # Who is like no other is at the right end; beyond that there is nobody.
    for _ in range(2):
        await page.keyboard.press("ArrowRight")
        await expect(places.get_by_role("option", name="cyd")).to_have_attribute("aria-selected", "true")
    await expect(page.locator("figcaption")).to_contain_text("cyd: cluster 2")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="cyd")).to_be_visible()


async def test_a_cluster_is_shown_with_who_is_in_it(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    for name in ("bob", "cyd"):
        await population.create(name)
    await staging.share(client, ("ada", "bob", "cyd"))
    for name, seed in (("ada", 1), ("bob", 1), ("cyd", 2)):
        await profile(population, name, seed)
    page = await open_page("population")
    await page.get_by_text("Advanced: who answers alike").click()
    first = page.get_by_role("button", name="Cluster 1 2")
    await first.click()

    await expect(first).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("circle.faded")).to_have_count(1)
    await expect(page.get_by_role("paragraph").filter(has_text=re.compile("^ada, bob$"))).to_be_visible()


async def test_an_error_leads_to_what_was_logged_of_its_request(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    log = Logging(population)
    for name in ("bob", "cyd"):
        await population.create(name)
    await staging.share(client, ("ada", "bob", "cyd"))
    page = await open_page("population")
    await page.get_by_label("Ask them all").fill("Who is there?")
    await page.get_by_label("How many").fill("9")
    await page.get_by_role("button", name="Ask").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("Request req_")
    log.settle()
    await alert.get_by_role("link").click()

    await expect(page.get_by_text("/v1/population/answers was answered with 409")).to_be_visible()
    await page.get_by_label("Request id").fill("nothing")
    await page.get_by_role("button", name="Look up").click()
    await expect(page.get_by_role("alert")).to_contain_text("no trace of a request nothing")
    await page.get_by_role("link", name="Back to the system").click()
    await expect(page.get_by_role("heading", name="System")).to_be_visible()
    log.end()


async def test_the_trace_of_a_request_says_where_its_time_went(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    log = Logging(population, traces=True, log_level="info")
    reply = await client.post("/v1/chat/completions", json=chat_body(), headers={"x-request-id": "mine"})
    assert reply.status_code == 200
    population.engine.failure = EngineUnavailable("gone")
    await client.post("/v1/chat/completions", json=chat_body(), headers={"x-request-id": "failed"})
    population.engine.failure = None
    log.settle()
    page = await open_page("system/requests/mine")

    table = page.get_by_role("region", name="Its trace").get_by_role("table")
    rows = table.get_by_role("row")
    await expect(rows).to_have_count(1 + len(TURN))
    assert [(await rows.nth(index).locator("code").inner_text()) for index in range(1, 1 + len(TURN))] == [
        name.strip() for name in TURN
    ]
    await expect(rows.nth(1)).to_contain_text("gateway-0")
    await expect(rows.nth(1)).to_contain_text("status_code 200")
    await expect(rows.nth(1).get_by_role("img", name="from 0 % to 100 %")).to_be_visible()
    # Each bar lies within its parent's, as the time does.
    bars = await table.locator(".bar > i").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    assert all(bars[0][0] - 1 <= left < right <= bars[0][1] + 1 for left, right in bars)
    assert len({round(left) for left, _ in bars}) > 1
    await expect(page.get_by_text("It left no line")).to_be_visible()

    await page.get_by_label("Request id").fill("failed")
    await page.get_by_role("button", name="Look up").click()
    failed = page.get_by_role("row").filter(has_text=f"chat {BASE.name}")
    await expect(failed).to_contain_text("engine_unavailable")
    log.end()


async def test_a_turn_leads_to_where_its_time_went(population: Population, open_page: Open) -> None:
    log = Logging(population, traces=True)
    page = await open_page("people/ada/chat")
    await say(page, "Hello")
    trace = page.get_by_role("link", name="trace")
    await expect(trace).to_be_visible()
    log.settle()
    await trace.click()

    table = page.get_by_role("region", name="Its trace")
    await expect(table.get_by_role("row").filter(has_text="populace.commit").first).to_be_visible()
    log.end()


async def test_without_traces_it_is_said_how_to_have_them(
    client: httpx.AsyncClient, population: Population, open_page: Open
) -> None:
    log = Logging(population)
    await client.get("/v1/models", headers={"x-request-id": "mine"})
    log.settle()
    page = await open_page("system/requests/mine")

    await expect(page.get_by_text("/v1/models was answered with 200")).to_be_visible()
    await expect(page.get_by_text("POPULACE_TELEMETRY=off")).to_be_visible()
    await expect(page.get_by_role("region", name="Its trace")).to_have_count(0)
    log.end()


async def test_a_person_is_erased_only_after_their_name_was_typed(
    population: Population, open_page: Open
) -> None:
    page = await open_page("people/ada/keeping")
    await page.get_by_role("button", name="Erase", exact=True).click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("button", name="Erase for ever")).to_be_disabled()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)

    await page.get_by_role("button", name="Erase", exact=True).click()
    await dialog.get_by_label("Type ada to go on").fill("ada")
    await dialog.get_by_role("button", name="Erase for ever").click()

    await expect(page.get_by_text("There is nobody here yet")).to_be_visible()
    assert (await population.directory.list_models("acme")).models == ()


async def test_a_key_that_is_no_longer_valid_signs_out(population: Population, open_page: Open) -> None:
    page = await open_page("people")
    await page.evaluate(
        "key => sessionStorage.setItem('populace.key', key)", altered(population.keys["acme"])
    )
    await page.reload()

    await expect(page.get_by_role("alert")).to_contain_text("no longer valid")
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_server_that_restarts_in_the_middle_of_a_reply_is_waited_for(
    server: ConsoleServer, population: Population, open_page: Open
) -> None:
    population.engine.reply = ("It", " was", " night.")
    page = await open_page("people/ada/chat")
    async with held_reply(population, before=1):
        await say(page, "Tell me a story.")
        await expect(page.get_by_role("log").get_by_text("It", exact=True)).to_be_visible()
        await server.stop()
        await expect(page.get_by_text("The server does not answer.")).to_be_visible()
        await expect(page.get_by_text("The reply is asked for again")).to_be_visible()
    server.start()

    await expect(page.get_by_role("log").get_by_text("It was night.", exact=True)).to_be_visible()
    assert [turn.reply for turn in await population.log("ada")] == ["It was night."]
