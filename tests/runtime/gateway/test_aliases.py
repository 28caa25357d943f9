"""A person chooses over HTTP which revision answers under an alias, and drops aliases."""

import httpx
import pytest

from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE

ADA = "/v1/personal-models/ada"
OLD, NEW = (Revision(digit * 64, BASE.fingerprint, "imported", None, 4, 100, 5000) for digit in "de")


@pytest.fixture(autouse=True)
async def published(population: Population) -> None:
    for revision, alias in ((OLD, "latest"), (NEW, "canary")):
        await population.directory.publish_revision(ModelId("acme", "ada"), revision, alias)


@pytest.mark.parametrize("reference", ["canary", NEW.digest, "eee"])
async def test_an_alias_moves_to_what_is_named_and_answers_with_it(
    client: httpx.AsyncClient, reference: str
) -> None:
    reply = await client.put(f"{ADA}/aliases/latest", json={"revision": reference})
    again = await client.put(f"{ADA}/aliases/latest", json={"revision": reference})
    said = await client.post("/v1/chat/completions", json=chat_body())

    assert (reply.status_code, again.status_code) == (200, 200)
    assert reply.json() == again.json()
    assert reply.json()["aliases"] == {"canary": NEW.digest, "latest": NEW.digest}
    assert said.headers["x-populace-revision"] == NEW.digest


async def test_a_new_alias_is_one_that_can_be_asked(client: httpx.AsyncClient) -> None:
    await client.put(f"{ADA}/aliases/calm", json={"revision": "latest"})
    said = await client.post("/v1/chat/completions", json=chat_body(model="ada@calm"))

    assert said.headers["x-populace-revision"] == OLD.digest


@pytest.mark.parametrize(
    ("alias", "body", "status", "code"),
    [
        ("latest", {"revision": "calm"}, 404, "revision_not_found"),
        ("latest", {"revision": "f" * 64}, 404, "revision_not_found"),
        ("latest", {"revision": "base"}, 400, "invalid_request"),
        ("latest", {"revision": ""}, 400, "invalid_request"),
        ("latest", {}, 400, "invalid_request"),
        ("latest", {"revision": "eee", "force": True}, 400, "invalid_request"),
        ("No%20Alias", {"revision": "eee"}, 400, "invalid_name"),
        ("e" * 64, {"revision": "eee"}, 400, "invalid_name"),
    ],
)
async def test_what_cannot_be_is_refused_by_name_and_moves_nothing(
    client: httpx.AsyncClient, alias: str, body: dict[str, object], status: int, code: str
) -> None:
    before = (await client.get(ADA)).json()

    reply = await client.put(f"{ADA}/aliases/{alias}", json=body)

    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert (await client.get(ADA)).json() == before


async def test_a_beginning_of_several_is_refused(client: httpx.AsyncClient, population: Population) -> None:
    other = Revision("e" + "0" * 63, BASE.fingerprint, "imported", None, 4, 100, 5000)
    await population.directory.publish_revision(ModelId("acme", "ada"), other, "other")

    reply = await client.put(f"{ADA}/aliases/latest", json={"revision": "e"})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "revision")


async def test_an_alias_is_dropped_and_latest_never(client: httpx.AsyncClient) -> None:
    dropped = await client.delete(f"{ADA}/aliases/canary")
    again = await client.delete(f"{ADA}/aliases/canary")
    latest = await client.delete(f"{ADA}/aliases/latest")

    assert (dropped.status_code, dropped.json()["aliases"]) == (200, {"latest": OLD.digest})
    assert (again.status_code, again.json()["error"]["code"]) == (404, "revision_not_found")
    assert (latest.status_code, latest.json()["error"]["param"]) == (400, "alias")
    assert (await client.get(ADA)).json()["aliases"] == {"latest": OLD.digest}
    assert len((await client.get(f"{ADA}/revisions")).json()["data"]) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_aliases_of_others_are_not_there(population: Population, method: str) -> None:
    body = {"revision": NEW.digest} if method == "PUT" else None
    async with population.client("globex") as globex:
        globex.headers["X-Request-Id"] = "same"
        foreign = await globex.request(method, f"{ADA}/aliases/canary", json=body)
        absent = await globex.request(method, "/v1/personal-models/zed/aliases/canary", json=body)

    assert foreign.status_code == 404
    assert foreign.text == absent.text.replace("zed", "ada")
