"""Keys and tenants are looked after over HTTP, by keys with the role ``admin`` alone."""

import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from populace.actors.turn import ModelId
from populace.gateway.http.needs import Need, need_of
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_key_roles import asked, routes_of, told

KEYS, TENANTS = "/v1/admin/keys", "/v1/admin/tenants"


@pytest.fixture
async def admin(population: Population) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with an admin key, which is acme's."""
    await population.add_key("admin", role="admin")
    async with population.client("admin") as client:
        yield client


async def test_only_an_admin_key_looks_after_keys_and_tenants(population: Population) -> None:
    await population.add_key("reader", role="read")
    admins = [route for route in routes_of(population) if route.path.startswith("/v1/admin/")]
    assert len(admins) >= 9
    assert {need_of(route.endpoint) for route in admins} == {Need("admin")}
    for name in ("acme", "reader"):
        async with population.client(name) as client:
            replies = [await asked(client, route) for route in admins]
        assert {told(reply) for reply in replies} == {(403, "permission_error", "role_needed")}
        assert all("`admin`" in reply.json()["error"]["message"] for reply in replies)


async def test_an_admin_key_does_all_that_its_tenant_may(admin: httpx.AsyncClient) -> None:
    talked = await admin.post("/v1/chat/completions", json=chat_body())
    foreign = await admin.get("/v1/personal-models/eve")

    assert (talked.status_code, foreign.status_code) == (200, 404)


async def test_a_key_is_made_used_shown_rotated_and_revoked(
    population: Population, admin: httpx.AsyncClient
) -> None:
    body = {"tenant": "initech", "label": "reports", "role": "read", "expires_in": 3600}
    made = (await admin.post(KEYS, json=body)).json()
    path = f"{KEYS}/{made['id']}"
    population.keys["made"] = made["key"]
    async with population.client("made") as client:
        used = (await client.get("/v1/population")).json()
        shown = (await admin.get(path)).json()
        rotated = (await admin.post(f"{path}/rotate", json={"grace": 60})).json()
        population.keys["rotated"] = rotated["key"]
        former = await client.get("/v1/population")
    async with population.client("rotated") as client:
        renewed = await client.get("/v1/population")
    revoked = (await admin.delete(path)).json()

    assert used["tenant"] == "initech"
    assert "key" not in shown
    assert {name: made[name] for name in body if name != "expires_in"} == {
        name: body[name] for name in body if name != "expires_in"
    }
    assert made["expires"] - made["created"] == 3600
    assert abs(made["created"] - time.time()) < 600
    assert (former.status_code, renewed.status_code) == (200, 200)
    assert made["key"] != rotated["key"]
    assert 0 < rotated["former_secret_until"] - made["created"] < 600
    assert [key["state"] for key in (made, shown, rotated, revoked)] == ["valid", "valid", "valid", "revoked"]


async def test_keys_are_listed_for_all_tenants_or_one(
    population: Population, admin: httpx.AsyncClient
) -> None:
    await population.add_key("ended", tenant="globex", expires_ms=1)
    everything = (await admin.get(KEYS)).json()["data"]
    globex = (await admin.get(KEYS, params={"tenant": "globex"})).json()["data"]

    assert {(key["tenant"], key["label"], key["state"]) for key in everything} == {
        ("acme", "test", "valid"),
        ("acme", "admin", "valid"),
        ("globex", "test", "valid"),
        ("globex", "ended", "expired"),
    }
    assert [key["label"] for key in globex] == ["test", "ended"] or len(globex) == 2
    assert all("key" not in key and "secret_sha256" not in key for key in everything)


@pytest.mark.parametrize(
    ("body", "code", "parameter"),
    [
        ({}, "invalid_request", "tenant"),
        ({"tenant": "Acme"}, "invalid_name", "name"),
        ({"tenant": "acme", "role": "owner"}, "invalid_request", "role"),
        ({"tenant": "acme", "role": "admin", "models": ["ada"]}, "invalid_request", "models"),
        ({"tenant": "acme", "models": []}, "invalid_request", "models"),
        ({"tenant": "acme", "models": ["a/b"]}, "invalid_name", "name"),
        ({"tenant": "acme", "expires_in": 0}, "invalid_request", "expires_in"),
        ({"tenant": "acme", "limits": {"people": 3}}, "invalid_request", "limits.people"),
        ({"tenant": "acme", "limits": {"requests_per_minute": 0}}, "invalid_request", None),
    ],
)
async def test_a_key_that_cannot_be_is_refused_by_name(
    population: Population, admin: httpx.AsyncClient, body: dict[str, Any], code: str, parameter: str | None
) -> None:
    before = {key.key_id for key in await population.directory.keys.of_tenant()}
    reply = await admin.post(KEYS, json=body)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code), reply.text
    if parameter is not None:
        assert reply.json()["error"]["param"] == parameter
    assert {key.key_id for key in await population.directory.keys.of_tenant()} == before


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [("GET", "", None), ("DELETE", "", None), ("POST", "/rotate", {}), ("PUT", "/limits", {})],
)
async def test_a_key_that_there_is_not_is_named(
    admin: httpx.AsyncClient, method: str, rest: str, body: dict[str, Any] | None
) -> None:
    reply = await admin.request(method, f"{KEYS}/0123456789abcdef{rest}", json=body)

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "key_not_found")
    assert "0123456789abcdef" in reply.json()["error"]["message"]


async def test_a_keys_limits_are_replaced_and_lifted(admin: httpx.AsyncClient) -> None:
    made = (await admin.post(KEYS, json={"tenant": "acme", "limits": {"tokens_per_minute": 5}})).json()
    path = f"{KEYS}/{made['id']}"
    limited = (await admin.put(f"{path}/limits", json={"requests_per_minute": 600})).json()
    lifted = (await admin.put(f"{path}/limits", json={})).json()

    assert [key["limits"] for key in (made, limited, lifted)] == [
        {"requests_per_minute": None, "tokens_per_minute": 5},
        {"requests_per_minute": 600, "tokens_per_minute": None},
        {"requests_per_minute": None, "tokens_per_minute": None},
    ]


async def test_tenants_are_those_with_people_a_key_or_a_limit(
    population: Population, admin: httpx.AsyncClient
) -> None:
    await population.create("eve", tenant="initech")
    await population.create("mia", tenant="initech")
    limits = {"people": 7, "requests_per_minute": 60}
    limited = (await admin.put(f"{TENANTS}/hooli/limits", json=limits)).json()
    listed = (await admin.get(TENANTS)).json()["data"]
    population.restart()
    async with population.client("admin") as client:
        again = (await client.get(TENANTS)).json()["data"]

    assert [tenant["id"] for tenant in listed] == ["acme", "globex", "hooli", "initech"]
    assert listed[2] == limited
    assert {name: limit for name, limit in limited["limits"].items() if limit is not None} == limits
    assert again == listed


async def test_what_a_tenant_has_is_counted(population: Population, admin: httpx.AsyncClient) -> None:
    await population.create("bob")
    await admin.post("/v1/chat/completions", json=chat_body("a thing to keep"))
    shown = (await admin.get(f"{TENANTS}/acme")).json()
    jobs = population.directory.jobs
    await admin.post("/v1/personal-models/ada/jobs", json={"method": "sft"})
    open_jobs = [job for job in await jobs.of_model(ModelId("acme", "ada")) if job.is_open]
    after = (await admin.get(f"{TENANTS}/acme")).json()
    unused = (await admin.get(f"{TENANTS}/nothing-yet")).json()

    assert (shown["people"], shown["open_jobs"]) == (2, 0)
    assert shown["bytes"] > len("a thing to keep")
    assert after["open_jobs"] == len(open_jobs) == 1
    assert (unused["people"], unused["bytes"], unused["open_jobs"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("tenant", "body", "code"),
    [
        ("Acme", {}, "invalid_name"),
        ("acme", {"people": -1}, "invalid_request"),
        ("acme", {"requests_per_minute": 0}, "invalid_request"),
        ("acme", {"people": 1.5}, "invalid_request"),
        ("acme", {"budget": 3}, "invalid_request"),
    ],
)
async def test_a_limit_that_cannot_be_is_refused(
    admin: httpx.AsyncClient, tenant: str, body: dict[str, Any], code: str
) -> None:
    reply = await admin.put(f"{TENANTS}/{tenant}/limits", json=body)

    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)
    assert (await admin.get(f"{TENANTS}/acme")).json()["limits"]["people"] is None
