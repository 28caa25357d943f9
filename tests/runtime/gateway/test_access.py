"""Who is calling comes from the API key alone, and without one nothing is looked at."""

import asyncio
import hmac
import time
from dataclasses import replace

import httpx
import pytest
from fastapi import Request

from populace.actors.access_errors import Unauthorized
from populace.api.server import TENANT_HEADER
from populace.gateway.http.access import (
    CACHE_SECONDS,
    LOOKUP_SECONDS,
    REFUSED_SECONDS,
    Access,
    new_key,
)
from populace.hosting.directory.directory import Directory, LocalHostClient
from tests.actors.fakes import FailingClient
from tests.runtime.gateway.population import SHARDS, Population, chat_body

CHAT = "/v1/chat/completions"


def altered(key: str) -> str:
    """Change the last character of a key's secret."""
    return key[:-1] + ("A" if key[-1] != "A" else "B")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "Bearer nonsense",
        "Bearer populace_0000000000000000_" + "A" * 43,
        "Bearer populace_0000000000000000_" + "A" * 44,
        "Bearer populace_000000000000000G_" + "A" * 43,
        "Bearer \xff",
        "Bearer " + "x" * 10_000,
    ],
)
async def test_without_a_known_key_every_route_is_401(population: Population, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answers: dict[str, tuple[int, str | None]] = {}
    keyless: set[str] = set()
    async with population.client(None) as client:
        for path, methods in population.app.openapi()["paths"].items():
            for method, operation in methods.items():
                reply = await client.request(method, path, headers=headers, content=b"{")  # type: ignore[arg-type]
                answers[f"{method} {path}"] = (reply.status_code, reply.headers.get("www-authenticate"))
                if operation.get("security") == []:
                    keyless.add(f"{method} {path}")

    open_to_all = {route for route, answer in answers.items() if answer != (401, "Bearer")}
    assert open_to_all == keyless == {"get /healthz", "get /readyz", "get /metrics"}
    assert len(answers) > 30


async def test_a_wrong_secret_is_answered_like_an_unknown_key(population: Population) -> None:
    wrong, unknown = altered(population.keys["acme"]), new_key("acme", "lost", now_ms=0)[0]
    async with population.client(None) as client:
        replies = [
            await client.get("/v1/models", headers={"Authorization": f"Bearer {key}", "X-Request-Id": "same"})
            for key in (wrong, unknown)
        ]

    assert [reply.status_code for reply in replies] == [401, 401]
    assert replies[0].content == replies[1].content


async def test_secrets_are_compared_in_constant_time_also_where_there_is_no_key(
    population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bool] = []
    compare = hmac.compare_digest

    def spy(first: bytes, second: bytes) -> bool:
        compared.append(compare(first, second))
        return compared[-1]

    monkeypatch.setattr("populace.gateway.http.access.hmac.compare_digest", spy)
    keys = (population.keys["acme"], altered(population.keys["acme"]), new_key("acme", "lost", now_ms=0)[0])
    async with population.client(None) as client:
        for key in keys:
            await client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})

    # What is not remembered is compared with nothing first, and a wrong secret twice; each time with the
    # secret and with the one before a rotation.
    assert compared == [False, False, True, False] + 8 * [False]


def request_with(key: str) -> Request:
    return Request({"type": "http", "headers": [(b"authorization", f"Bearer {key}".encode())]})


def counting(population: Population) -> tuple[Directory, list[str]]:
    """Return the population's directory, and the calls that it makes to its hosts."""
    clients = [FailingClient(LocalHostClient(host), {}) for host in population.hosts]
    calls: list[str] = []
    for client in clients:
        client.calls = calls
    return Directory.over(clients, shard_count=SHARDS), calls


async def test_an_id_that_there_is_is_refused_after_the_same_work_and_time_as_one_that_there_is_not(
    population: Population,
) -> None:
    directory, calls = counting(population)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    access = Access(directory, monotonic=lambda: 0.0, sleep=sleep)
    assert (await access.caller(request_with(population.keys["acme"]))).tenant == "acme"
    done: list[tuple[list[str], list[float]]] = []
    others = (altered(population.keys["acme"]), new_key("acme", "lost", now_ms=0)[0])
    for key in (*others, altered(population.keys["globex"])):
        for _ in range(5):
            await asyncio.sleep(0)
        calls.clear()
        slept.clear()
        with pytest.raises(Unauthorized):
            await access.caller(request_with(key))
        done.append((list(calls), sorted(slept)))

    assert done == [(["keys.find"], [LOOKUP_SECONDS, REFUSED_SECONDS])] * 3


async def test_any_number_of_unknown_ids_leaves_for_the_hosts_together(population: Population) -> None:
    directory, calls = counting(population)
    pauses: list[asyncio.Event] = []

    async def sleep(seconds: float) -> None:
        if seconds == LOOKUP_SECONDS:
            pauses.append(asyncio.Event())
            await pauses[-1].wait()

    access = Access(directory, sleep=sleep)
    keys = [new_key("acme", "lost", now_ms=0)[0] for _ in range(50)]
    asking = [asyncio.ensure_future(access.caller(request_with(key))) for key in keys]
    for _ in range(100):
        await asyncio.sleep(0)
    first = len(calls)
    pauses[0].set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [Unauthorized] * 50
    assert (first, len(calls), len(pauses)) == (1, 50, 2)
    pauses[1].set()


async def test_the_tenant_comes_from_the_key_and_from_nothing_else(population: Population) -> None:
    await population.create("ada", tenant="globex")
    async with population.client("globex") as client:
        reply = await client.post(
            CHAT,
            json=chat_body(user="acme", metadata={"tenant": "acme"}),
            headers={"X-Tenant": "acme", "OpenAI-Organization": "acme"},
        )

    assert reply.status_code == 200
    assert len(await population.log("ada", tenant="globex")) == 1
    assert await population.log("ada") == ()


async def test_only_the_hash_of_a_secret_is_kept() -> None:
    key, record = new_key("acme", "laptop", now_ms=5)

    secret = key.split("_", 2)[2]  # which may hold more of them

    assert secret not in repr(record)
    assert len(record.secret_sha256) == 32


async def test_a_revoked_key_is_refused_within_the_cache_time(population: Population) -> None:
    now = time.monotonic()
    key = population.keys["acme"]
    access = Access(population.directory, monotonic=lambda: now)
    state = population.app.state
    state.gateway = replace(state.gateway, access=access)
    headers = {"Authorization": f"Bearer {key}"}
    async with population.client(None) as client:
        before = await client.get("/v1/models", headers=headers)
        await population.directory.keys.revoke(key.split("_")[1])
        cached = await client.get("/v1/models", headers=headers)
        now += CACHE_SECONDS + 0.001
        after = await client.get("/v1/models", headers=headers)

    assert [reply.status_code for reply in (before, cached, after)] == [200, 200, 401]


async def test_a_caller_in_the_cluster_names_its_tenant_and_nobody_else_does(population: Population) -> None:
    state = population.app.state
    access = Access(population.directory, cluster_key="of this start")
    state.gateway = replace(state.gateway, access=access)
    await population.create("eve", tenant="globex")
    in_cluster = {"Authorization": "Bearer of this start"}
    keyed = {"Authorization": f"Bearer {population.keys['acme']}", TENANT_HEADER: "globex"}
    async with population.client(None) as client:
        path = "/v1/personal-models/eve"
        statuses = [
            (await client.get(path, headers=headers)).status_code
            for headers in (
                in_cluster | {TENANT_HEADER: "globex"},
                in_cluster | {TENANT_HEADER: "acme"},
                keyed,
                {"Authorization": "Bearer of this star", TENANT_HEADER: "globex"},
            )
        ]
        unnamed = await client.get(path, headers=in_cluster)

    assert statuses == [200, 404, 404, 401]
    assert unnamed.json()["error"]["code"] == "invalid_name"


async def test_without_a_cluster_key_an_empty_one_is_refused(population: Population) -> None:
    async with population.client(None) as client:
        reply = await client.get("/v1/models", headers={"Authorization": "Bearer ", TENANT_HEADER: "acme"})

    assert reply.status_code == 401


async def test_a_wrong_secret_is_refused_while_the_right_one_is_remembered(population: Population) -> None:
    key = population.keys["acme"]
    async with population.client(None) as client:
        statuses = [
            (await client.get("/v1/models", headers={"Authorization": f"Bearer {one}"})).status_code
            for one in (key, altered(key), key)
        ]

    assert statuses == [200, 401, 200]


async def test_a_key_created_later_is_accepted_at_once(
    client: httpx.AsyncClient, population: Population
) -> None:
    key, record = new_key("acme", "second", now_ms=0)
    headers = {"Authorization": f"Bearer {key}"}
    before = await client.get("/v1/models", headers=headers)
    await population.directory.keys.create(record)

    after = await client.get("/v1/models", headers=headers)

    assert (before.status_code, after.status_code) == (401, 200)
    found = await population.directory.keys.find(record.key_id)
    assert found is not None
    assert replace(found, used_ms=None) == record
