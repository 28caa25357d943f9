"""A reply is shown as Markdown: nothing in it runs or is loaded, and what is not read is shown as it is."""

import pytest
from playwright.async_api import Page, expect

from tests.runtime.gateway.console.browsing import Open
from tests.runtime.gateway.population import Population

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SHOWN = """# Dogs

**Bruno** is *afraid* of `thunder`:

1. first
2. second
   - [x] within

| dog | years |
|:--|--:|
| Bruno | 7 |

```python
print("<b>Bruno</b>")
```

> A [good dog](https://example.org/dogs) &amp; friend.
"""
HOSTILE = """<script>document.title = "taken"</script>

<img src="https://example.org/seen.png" onerror="alert(1)">

![a picture](https://example.org/seen.png) [run](javascript:alert(1)) [data](data:text/html,hello)
[inside](/console#/people) [here](#/people) <b onclick="alert(1)">bold</b> <svg/onload=alert(1)>
"""
DEEP = ">" * 6000 + " deep"
LONG = "**word** " * 25_000


async def reply_to(page: Page, population: Population, reply: str) -> None:
    """Have ada reply with this text, and wait until it was recorded."""
    population.engine.reply = (reply,)
    turns = page.get_by_role("log").get_by_role("article")
    before = await turns.count()
    await page.get_by_label("Message to ada").fill("Go on.")
    await page.keyboard.press("Enter")
    await expect(turns.nth(before).get_by_role("button", name="A good reply")).to_be_visible()


async def test_a_reply_is_shown_as_markdown_and_copied_as_it_is(
    population: Population, open_page: Open
) -> None:
    page = await open_page("people/ada/chat")
    await reply_to(page, population, SHOWN)
    reply = page.locator(".prose")

    await expect(reply.locator("strong")).to_have_text("Bruno")
    await expect(reply.locator("em")).to_have_text("afraid")
    await expect(reply.locator("ol > li")).to_have_count(2)
    await expect(reply.locator("ul > li")).to_have_text("☑ within")
    await expect(reply.get_by_role("cell", name="7")).to_have_class("number")
    await expect(reply.locator("pre")).to_have_text('print("<b>Bruno</b>")')
    link = reply.get_by_role("link", name="good dog")
    await expect(link).to_have_attribute("href", "https://example.org/dogs")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    await expect(reply.locator("blockquote")).to_have_text("A good dog & friend.")

    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.get_by_text("Copied.")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == SHOWN


async def test_nothing_in_a_reply_runs_or_is_loaded_and_no_link_stays_here(
    population: Population, open_page: Open
) -> None:
    # What a page asks of another host, and what its policy has to forbid, fails this test at its end.
    page = await open_page("people/ada/chat")
    await reply_to(page, population, HOSTILE)
    reply = page.locator(".prose")

    await expect(reply).to_contain_text('<script>document.title = "taken"</script>')
    await expect(reply).to_contain_text("[run](javascript:alert(1))")
    await expect(reply).to_contain_text("![a picture](https://example.org/seen.png)")
    await expect(reply.locator("img, script, svg, b, a")).to_have_count(0)
    assert await page.title() == "ada · Populace"


@pytest.mark.parametrize("text", [DEEP, LONG], ids=["deep", "long"])
async def test_a_reply_that_takes_too_long_to_read_is_shown_as_it_is(
    population: Population, open_page: Open, text: str
) -> None:
    page = await open_page("people/ada/chat")
    await reply_to(page, population, text)

    assert (await page.locator(".theirs").text_content()) == text
