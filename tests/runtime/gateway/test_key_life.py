"""A key ends when it was said to, gets a new secret while it is used, and tells when it was used last."""

import asyncio
from dataclasses import replace

import httpx
import pytest

from populace.actors.access_errors import KeyExpired
from populace.actors.api_keys import ApiKey
from populace.actors.errors import HostUnavailable, InvalidRequest
from populace.client.http_connection import HttpConnection
from populace.gateway.http.access import CACHE_SECONDS, USE_SECONDS, Access, new_key, new_secret
from populace.hosting.directory.directory import Directory, LocalHostClient
from tests.actors.fakes import FailingClient
from tests.actors.turns import wait_until
from tests.runtime.gateway.population import SHARDS, Population, chat_body
from tests.runtime.gateway.test_access import altered

CHAT = "/v1/chat/completions"
NOW_MS = 1_764_547_200_000


class Clocked:
    """A population whose gateway's clocks the test drives. The hosts' go by themselves."""

    def __init__(self, population: Population, directory: Directory | None = None) -> None:
        self.population = population
        self.now_ms = NOW_MS
        self.monotonic_s = 1000.0
        access = Access(
            directory or population.directory,
            monotonic=lambda: self.monotonic_s,
            epoch_ms=lambda: self.now_ms,
            sleep=lambda seconds: asyncio.sleep(0),
        )
        state = population.app.state
        state.gateway = replace(state.gateway, access=access)

    def advance(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        self.monotonic_s += seconds

    async def status(self, key: str) -> int:
        async with self.population.client(None) as client:
            reply = await client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
        return reply.status_code

    async def find(self, key: str) -> ApiKey:
        found = await self.population.directory.keys.find(key.split("_")[1])
        assert found is not None
        return found

    async def wait_used(self, key: str) -> int:
        """Wait until a use of the key is noted, and return when that was."""

        async def is_used() -> bool:
            return (await self.find(key)).used_ms is not None

        await wait_until(is_used)
        used_ms = (await self.find(key)).used_ms
        assert used_ms is not None
        return used_ms


@pytest.fixture
def clocked(population: Population) -> Clocked:
    return Clocked(population)


async def test_a_key_is_refused_by_name_from_its_end_on(clocked: Clocked) -> None:
    population = clocked.population
    await population.add_key("short", expires_ms=NOW_MS + 3_600_000)
    async with population.client("short") as client:
        before = await client.get("/v1/models")
        clocked.advance(3599.9)
        last = await client.get("/v1/models")
        clocked.advance(0.1)
        after = await client.get("/v1/models")

    assert (before.status_code, last.status_code, after.status_code) == (200, 200, 401)
    error = after.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "key_expired")
    assert "ended at 2025-12-01 01:00:00 UTC" in error["message"]


async def test_a_stream_that_began_goes_on_to_its_end_when_its_key_ends(clocked: Clocked) -> None:
    population = clocked.population
    engine = population.engine
    await population.add_key("short", expires_ms=NOW_MS + 1000)
    engine.hold_before = 1
    async with population.client("short") as client:
        streaming = asyncio.create_task(client.post(CHAT, json=chat_body(stream=True)))
        await engine.held.wait()
        clocked.advance(60)
        refused = await client.post(CHAT, json=chat_body())
        engine.gate.set()
        streamed = await streaming

    assert refused.status_code == 401
    assert streamed.status_code == 200
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert [turn.reply for turn in await population.log("ada")] == ["reply 1 to you"]


async def test_a_key_that_ended_is_told_from_an_unknown_one_by_its_secret_alone(clocked: Clocked) -> None:
    await clocked.population.add_key("short", expires_ms=NOW_MS + 1)
    key = clocked.population.keys["short"]
    clocked.advance(1)
    async with clocked.population.client(None) as client:
        wrong = await client.get("/v1/models", headers={"Authorization": f"Bearer {altered(key)}"})

    assert wrong.json()["error"]["code"] == "invalid_api_key"


async def test_a_rotated_key_has_a_new_secret_at_once_and_the_old_one_for_its_grace(
    clocked: Clocked, population: Population
) -> None:
    old = population.keys["acme"]
    key_id = old.split("_")[1]
    assert await clocked.status(old) == 200
    new, digest = new_secret(key_id)
    rotated = await population.directory.keys.rotate(key_id, digest, grace_ms=3_600_000)
    assert rotated is not None
    during = [await clocked.status(key) for key in (new, old)]
    clocked.now_ms = rotated.former_until_ms
    clocked.monotonic_s += CACHE_SECONDS + 0.001
    after = [await clocked.status(key) for key in (new, old)]

    assert during == [200, 200]
    assert after == [200, 401]


async def test_the_secret_before_the_last_but_one_ends_with_the_next_rotation(
    clocked: Clocked, population: Population
) -> None:
    key_id = population.keys["acme"].split("_")[1]
    texts = [population.keys["acme"]]
    for _ in range(2):
        text, digest = new_secret(key_id)
        await population.directory.keys.rotate(key_id, digest, grace_ms=10**12)
        texts.append(text)

    assert [await clocked.status(text) for text in texts] == [401, 200, 200]


async def test_rotating_again_with_the_same_secret_changes_nothing(population: Population) -> None:
    keys, key_id = population.directory.keys, population.keys["acme"].split("_")[1]
    _, digest = new_secret(key_id)
    first = await keys.rotate(key_id, digest, grace_ms=5000)
    again = await keys.rotate(key_id, digest, grace_ms=9_000_000)

    assert first == again


async def test_a_key_that_is_revoked_or_unknown_gets_no_new_secret(population: Population) -> None:
    keys, key_id = population.directory.keys, population.keys["acme"].split("_")[1]
    revoked = await keys.revoke(key_id)
    with pytest.raises(InvalidRequest, match="revoked"):
        await keys.rotate(key_id, bytes(32), grace_ms=0)

    assert await keys.find(key_id) == revoked
    assert await keys.rotate("unknown", bytes(32), grace_ms=0) is None


async def test_when_a_key_was_used_is_kept_and_only_its_right_secret_uses_it(
    clocked: Clocked, population: Population
) -> None:
    key = population.keys["acme"]
    await clocked.status(altered(key))
    assert (await clocked.find(key)).used_ms is None

    await clocked.status(key)
    used_ms = await clocked.wait_used(key)
    for host in population.hosts:
        await host.record_time()
    population.restart()

    assert (await clocked.find(key)).used_ms == used_ms


async def test_a_use_that_was_not_written_before_a_host_ended_is_written_by_the_next_minute(
    clocked: Clocked, population: Population
) -> None:
    key = population.keys["acme"]
    await clocked.status(key)
    await clocked.wait_used(key)
    population.restart()
    assert (await clocked.find(key)).used_ms is None

    again = Clocked(population)
    await again.status(key)
    used_ms = await again.wait_used(key)
    for host in population.hosts:
        await host.record_time()
    population.restart()

    assert (await again.find(key)).used_ms == used_ms


async def test_a_use_is_told_to_the_host_once_a_minute(population: Population) -> None:
    clients = [FailingClient(LocalHostClient(host), {}) for host in population.hosts]
    clocked = Clocked(population, Directory.over(clients, shard_count=SHARDS))
    told: list[int] = []
    for seconds in (0, USE_SECONDS - 1, 1):
        clocked.advance(seconds)
        await clocked.status(population.keys["acme"])
        for _ in range(10):
            await asyncio.sleep(0)
        told.append(sum(client.calls.count("keys.note_use") for client in clients))

    assert told == [1, 1, 2]


async def test_a_host_that_is_away_when_a_use_is_noted_refuses_no_request(population: Population) -> None:
    away = HostUnavailable("host-0", "it restarts")
    clients = [FailingClient(LocalHostClient(host), {"keys.note_use": [away]}) for host in population.hosts]
    clocked = Clocked(population, Directory.over(clients, shard_count=SHARDS))

    assert await clocked.status(population.keys["acme"]) == 200


async def test_a_key_that_ends_before_it_begins_is_not_made(population: Population) -> None:
    _, key = new_key("acme", "", now_ms=NOW_MS, expires_ms=NOW_MS)

    with pytest.raises(InvalidRequest, match="ends after"):
        await population.directory.keys.create(key)


async def test_a_client_in_python_is_told_that_its_key_ended(clocked: Clocked) -> None:
    await clocked.population.add_key("short", expires_ms=NOW_MS + 1)
    clocked.advance(1)
    transport = httpx.ASGITransport(clocked.population.app)
    key = clocked.population.keys["short"]

    with pytest.raises(KeyExpired, match="ended at"):
        await HttpConnection.open("http://populace", key, transport=transport)
