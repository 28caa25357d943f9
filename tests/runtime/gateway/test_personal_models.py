"""Models over HTTP: only the caller's, in pages, under allowed names."""

import httpx
import pytest

from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE

MODELS = "/v1/personal-models"


async def names_by_page(client: httpx.AsyncClient, path: str, limit: int) -> list[list[str]]:
    """Follow ``after`` to the end."""
    pages: list[list[str]] = []
    after: str | None = None
    while True:
        query: dict[str, str | int] = {"limit": limit} if after is None else {"limit": limit, "after": after}
        body = (await client.get(path, params=query)).json()
        pages.append([one["id"] for one in body["data"]])
        after = body["after"]
        assert body["has_more"] == (after is not None)
        if after is None:
            return pages


async def test_a_new_model_is_shown_listed_and_answers(client: httpx.AsyncClient) -> None:
    created = await client.post(MODELS, json={"name": "eve"})

    shown = await client.get(f"{MODELS}/eve")
    reply = await client.post("/v1/chat/completions", json=chat_body(model="eve"))

    assert created.status_code == 201
    assert shown.json() == created.json()
    assert created.json() == {
        "id": "eve",
        "object": "personal_model",
        "created": created.json()["created"],
        "base": BASE.fingerprint,
        "log_start": 0,
        "log_position": 0,
        "cursor": 0,
        "memory_version": 0,
        "aliases": {},
        "active": False,
        "contributes": False,
        "begins_on": None,
    }
    assert reply.status_code == 200


async def test_a_name_is_taken_once(client: httpx.AsyncClient) -> None:
    reply = await client.post(MODELS, json={"name": "ada"})

    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "model_exists")


async def test_a_deleted_model_is_gone_with_its_log(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json=chat_body())

    deleted = await client.delete(f"{MODELS}/ada")

    assert deleted.json() == {"id": "ada", "object": "personal_model.deleted", "deleted": True}
    assert (await client.get(f"{MODELS}/ada")).status_code == 404
    assert (await client.delete(f"{MODELS}/ada")).status_code == 404
    await client.post(MODELS, json={"name": "ada"})
    assert (await client.get(f"{MODELS}/ada/interactions")).json()["data"] == []


async def test_models_come_in_pages_by_name(client: httpx.AsyncClient, population: Population) -> None:
    for name in ("dan", "bob", "eve", "cleo"):
        await population.create(name)
    await population.create("zoe", tenant="globex")

    pages = await names_by_page(client, MODELS, 2)

    assert pages == [["ada", "bob"], ["cleo", "dan"], ["eve"]]


async def test_openais_list_begins_with_what_all_share_and_pages_by_person(
    client: httpx.AsyncClient, population: Population
) -> None:
    for name in ("bob", "cleo"):
        await population.create(name)
    await population.create("zoe", tenant="globex")

    pages = await names_by_page(client, "/v1/models", 2)

    assert pages == [["base", "population", "ada", "ada:peek", "bob", "bob:peek"], ["cleo", "cleo:peek"]]


async def test_revisions_are_listed_with_how_far_they_have_come(
    client: httpx.AsyncClient, population: Population
) -> None:
    revision = Revision("d" * 64, BASE.fingerprint, "imported", None, 4, 100, 5000)
    await population.directory.publish_revision(ModelId("acme", "ada"), revision)

    page = (await client.get("/v1/personal-models/ada/revisions")).json()

    assert page["data"] == [
        {
            "id": "d" * 64,
            "object": "personal_model.revision",
            "created": 5,
            "base": BASE.fingerprint,
            "method": "imported",
            "parent": None,
            "rank": 4,
            "bytes": 100,
            "readiness": "ready",
            "lineage": None,
            "sources": [],
        }
    ]
    assert (await client.get("/v1/personal-models/eve/revisions")).status_code == 404


async def test_openais_model_is_shown_under_every_name_that_answers(
    client: httpx.AsyncClient, population: Population
) -> None:
    revision = Revision("d" * 64, BASE.fingerprint, "import", None, 4, 100, 0)
    await population.directory.publish_revision(ModelId("acme", "ada"), revision, "canary")

    statuses = {
        name: (await client.get(f"/v1/models/{name}")).status_code
        for name in ("base", "ada", "ada@latest", "ada@canary", "ada@other", "ada@", "eve", "base@latest")
    }

    assert statuses == {
        "base": 200,
        "ada": 200,
        "ada@latest": 200,
        "ada@canary": 200,
        "ada@other": 404,
        "ada@": 404,
        "eve": 404,
        "base@latest": 404,
    }


@pytest.mark.parametrize("after", ["\0", "ZZ", "é", "z" * 5000, "a\0b", "../.."])
async def test_a_page_may_start_after_any_text(client: httpx.AsyncClient, after: str) -> None:
    reply = await client.get(MODELS, params={"after": after})

    assert reply.status_code == 200


async def test_models_are_found_by_how_their_names_begin(
    client: httpx.AsyncClient, population: Population
) -> None:
    for name in ("bob", "bea", "cleo"):
        await population.create(name)

    found = {
        prefix: [one["id"] for one in (await client.get(MODELS, params={"prefix": prefix})).json()["data"]]
        for prefix in ("b", "be", "bob", "B", "é", "\0", "z" * 5000)
    }
    second = (await client.get(MODELS, params={"prefix": "b", "limit": 1, "after": "bea"})).json()

    nothing: dict[str, list[str]] = {prefix: [] for prefix in ("B", "é", "\0", "z" * 5000)}
    assert found == {"b": ["bea", "bob"], "be": ["bea"], "bob": ["bob"], **nothing}
    assert [one["id"] for one in second["data"]] == ["bob"]


@pytest.mark.parametrize("path", [MODELS, "/v1/models", f"{MODELS}/ada/interactions"])
@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "9" * 5000])
async def test_a_limit_out_of_range_is_refused(client: httpx.AsyncClient, path: str, limit: str) -> None:
    reply = await client.get(path, params={"limit": limit})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "limit")


BAD_NAMES = (
    "",
    "../x",
    "..",
    "a/b",
    "a\\b",
    "a\0b",
    "%2e%2e%2f",
    "Ada",
    "a" * 65,
    "а" + "da",
    "ada\u200b",
    "ⅰ",
    "ada\n",
    "-ada",
    "base",
    "population",
    "ada@latest",
)


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_forbidden_name_is_refused_and_nothing_is_created(
    client: httpx.AsyncClient, name: str
) -> None:
    reply = await client.post(MODELS, json={"name": name})

    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_name", "name")
    assert repr(name[:80]) in error["message"]
    assert await names_by_page(client, MODELS, 10) == [["ada"]]


@pytest.mark.parametrize("name", sorted({*BAD_NAMES} - {"", "base", "population", "ada@latest"}))
async def test_a_forbidden_name_is_no_model(client: httpx.AsyncClient, name: str) -> None:
    reply = await client.post("/v1/chat/completions", json=chat_body(model=name))

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    "path",
    ["..%2fx", "%2e%2e%2f", "a%00b", "%ff", "Ada", "a" * 65, "%D0%B0da", "base", "population", "ada@latest"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_forbidden_name_in_a_path_is_404(client: httpx.AsyncClient, method: str, path: str) -> None:
    reply = await client.request(method, f"{MODELS}/{path}")

    assert reply.status_code == 404
    assert reply.json()["error"]["code"] in {"model_not_found", "route_not_found"}
    assert await names_by_page(client, MODELS, 10) == [["ada"]]


@pytest.mark.parametrize(("method", "path"), [("GET", "{}"), ("DELETE", "{}"), ("GET", "{}/interactions")])
async def test_a_foreign_model_is_not_there(
    client: httpx.AsyncClient, population: Population, method: str, path: str
) -> None:
    await population.create("zoe", tenant="globex")
    client.headers["X-Request-Id"] = "same"

    reply = await client.request(method, f"{MODELS}/{path.format('zoe')}")

    absent = await client.request(method, f"{MODELS}/{path.format('zed')}")
    assert reply.status_code == 404
    assert reply.text == absent.text.replace("zed", "zoe")
    assert await population.log("zoe", tenant="globex") == ()


async def test_a_log_is_read_in_pages(client: httpx.AsyncClient) -> None:
    for text in ("one", "two", "three"):
        await client.post("/v1/chat/completions", json=chat_body(text))

    first = (await client.get(f"{MODELS}/ada/interactions", params={"limit": 2})).json()
    second = (
        await client.get(f"{MODELS}/ada/interactions", params={"limit": 2, "start": first["after"]})
    ).json()

    texts = [[turn["messages"][0]["content"] for turn in page["data"]] for page in (first, second)]
    assert texts == [["one", "two"], ["three"]]
    assert (first["after"], second["after"]) == ("2", None)


@pytest.mark.parametrize("start", [str(2**63), "9" * 40, "-1"])
async def test_a_log_position_out_of_range_is_refused(client: httpx.AsyncClient, start: str) -> None:
    reply = await client.get(f"{MODELS}/ada/interactions", params={"start": start})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "start")


async def test_the_last_log_position_of_all_is_read(client: httpx.AsyncClient) -> None:
    reply = await client.get(f"{MODELS}/ada/interactions", params={"start": str(2**53 - 1), "limit": 1000})

    assert reply.json()["data"] == []
