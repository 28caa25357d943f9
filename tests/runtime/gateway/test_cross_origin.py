"""Pages of other origins may use the gateway if a setting names them, and of no others."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.runtime.gateway.population import Population, chat_body

CHAT = "/v1/chat/completions"
PAGE = "https://chat.example.org"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


@pytest.fixture
async def browser(population: Population) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A page's requests to a gateway that is open to ``PAGE``."""
    transport = httpx.ASGITransport(population.make_app(cors_origins=(PAGE,)))
    headers = {"Origin": PAGE}
    async with httpx.AsyncClient(transport=transport, base_url="http://populace", headers=headers) as browser:
        yield browser


def key_of(population: Population) -> dict[str, str]:
    return {"Authorization": f"Bearer {population.keys['acme']}"}


async def test_a_browser_may_ask_and_send_what_clients_send(browser: httpx.AsyncClient) -> None:
    reply = await browser.options(CHAT, headers=PREFLIGHT)

    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert reply.headers["access-control-allow-headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    assert "access-control-allow-credentials" not in reply.headers


async def test_a_page_may_read_replies_errors_and_their_ids(
    browser: httpx.AsyncClient, population: Population
) -> None:
    replies = [
        await browser.post(CHAT, json=chat_body(), headers=key_of(population)),
        await browser.post(CHAT, json=chat_body()),
        await browser.post(CHAT, content=b" " * 10**6, headers=key_of(population)),
    ]
    population.engine.failure = ZeroDivisionError()
    replies.append(await browser.post(CHAT, json=chat_body(), headers=key_of(population)))

    assert [reply.status_code for reply in replies] == [200, 401, 413, 500]
    assert {reply.headers["access-control-allow-origin"] for reply in replies} == {PAGE}
    assert all("x-request-id" in reply.headers["access-control-expose-headers"] for reply in replies)


async def test_a_page_of_another_origin_is_not_let_in(browser: httpx.AsyncClient) -> None:
    headers = {**PREFLIGHT, "Origin": "https://other.example.org"}
    reply = await browser.options(CHAT, headers=headers)

    assert reply.status_code == 400
    assert "access-control-allow-origin" not in reply.headers


async def test_without_the_setting_no_page_is_let_in(client: httpx.AsyncClient) -> None:
    asked = await client.options(CHAT, headers={**PREFLIGHT, "Origin": PAGE})
    sent = await client.get("/v1/models", headers={"Origin": PAGE})

    assert [name for reply in (asked, sent) for name in reply.headers if "access-control" in name] == []


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        (CHAT, "OPTIONS, POST"),
        ("/v1/models", "GET, OPTIONS"),
        ("/v1/personal-models/ada", "DELETE, GET, OPTIONS"),
        ("/v1/personal-models/ada/aliases/canary", "DELETE, OPTIONS, PUT"),
    ],
)
async def test_a_path_names_all_of_its_methods(client: httpx.AsyncClient, path: str, methods: str) -> None:
    asked = await client.options(path)
    wrong = await client.patch(path)

    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, methods, b"")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, methods)


async def test_a_path_that_is_no_route_has_no_methods(client: httpx.AsyncClient) -> None:
    assert (await client.options("/v1/nothing")).status_code == 404
