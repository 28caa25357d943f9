"""A tenant and a key take what they may, are told what is left and why not more, and cost others nothing."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from populace.actors.access_errors import LimitReached
from populace.actors.api_keys import KeyHolder
from populace.actors.errors import HostUnavailable
from populace.actors.rates import Ask, Rate
from populace.actors.tenants import Limits
from populace.actors.turn import ModelId
from populace.client.remote_errors import error_in
from populace.gateway.http import limits as limits_module
from populace.gateway.http.access import CACHE_SECONDS
from populace.gateway.http.limits import BYTES_SECONDS, Limiter
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.storage.store import Store
from tests.actors.fakes import FailingClient, FakeClock
from tests.actors.populations import SHARDS as HOST_SHARDS
from tests.actors.populations import local_hosts
from tests.actors.turns import wait_until
from tests.runtime.gateway.population import SHARDS, Population, chat_body
from tests.runtime.gateway.test_key_life import Clocked

CHAT, MODELS, ONE = "/v1/chat/completions", "/v1/models", "/v1/personal-models"
TOKENS = Rate("", "tokens", 1)


async def limit(population: Population, **limits: int) -> None:
    """Limit acme, before its first request."""
    await population.directory.tenants.limit("acme", Limits(**limits))


async def tokens_left(population: Population) -> float:
    """Return what acme's bucket has of one token a minute, below 0 what it owes."""
    [taken] = await population.directory.rates.take("acme", [Ask(TOKENS, 0.0)])
    return taken.level


async def names(population: Population) -> list[str]:
    return [view.model.name for view in (await population.directory.list_models("acme")).models]


def check_refused(reply: httpx.Response, limit_name: str, command: str) -> None:
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["code"]) == (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    ), reply.text
    assert error["details"]["limit_name"] == limit_name
    assert f"`{command} N`" in error["message"]


async def test_without_limits_nothing_is_told_and_nothing_asked(
    population: Population, client: httpx.AsyncClient
) -> None:
    reply = await client.post(CHAT, json=chat_body())

    assert reply.status_code == 200
    assert [name for name in reply.headers if name.startswith("x-ratelimit")] == []


async def test_the_request_over_the_limit_is_refused_with_what_raises_it(population: Population) -> None:
    await limit(population, requests_per_minute=1)
    async with population.client("acme") as client:
        first = await client.post(CHAT, json=chat_body())
        second = await client.post(CHAT, json=chat_body())
    async with population.client("globex") as client:
        other = await client.get(MODELS)

    assert (first.status_code, other.status_code) == (200, 200)
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < float(first.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    check_refused(second, "requests_per_minute", "populace tenant limit acme --requests-per-minute")
    assert "may take 1 requests a minute" in second.json()["error"]["message"]
    assert 1 <= int(second.headers["retry-after"]) <= 60
    assert second.headers["x-ratelimit-limit-requests"] == "1"
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(await population.log("ada")) == 1
    assert isinstance(error_in(second.content, 429), LimitReached)


async def test_a_refused_request_is_refused_before_its_body_is_read(population: Population) -> None:
    await limit(population, requests_per_minute=1)
    async with population.client("acme") as client:
        await client.get(MODELS)
        refused = await client.post(CHAT, content=b"{")

    assert refused.status_code == 429


async def test_a_key_has_limits_beside_those_of_its_tenant(population: Population) -> None:
    await limit(population, requests_per_minute=6000)
    key_id = await population.add_key("slow", limits=Limits(requests_per_minute=1))
    async with population.client("slow") as client:
        first, second = await client.get(MODELS), await client.get(MODELS)
    async with population.client("acme") as client:
        others = [await client.get(MODELS) for _ in range(5)]

    check_refused(second, "requests_per_minute", f"populace key limit {key_id} --requests-per-minute")
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert {reply.status_code for reply in others} == {200}
    assert {reply.headers["x-ratelimit-limit-requests"] for reply in others} == {"6000"}


async def test_who_looks_after_the_service_can_always_raise_a_limit(population: Population) -> None:
    await limit(population, requests_per_minute=1)
    await population.add_key("admin", role="admin")
    async with population.client("admin") as client:
        mine = [(await client.get(MODELS)).status_code for _ in range(2)]
        raised = await client.put("/v1/admin/tenants/acme/limits", json={"requests_per_minute": 60})

    assert mine == [200, 429]
    assert raised.status_code == 200


async def test_a_changed_limit_is_kept_to_within_seconds(population: Population) -> None:
    clocked = Clocked(population)
    key = population.keys["acme"]
    assert await clocked.status(key) == 200
    await limit(population, requests_per_minute=1)

    async def is_limited() -> bool:
        return await clocked.status(key) == 429

    assert not await is_limited()
    clocked.advance(CACHE_SECONDS + 0.001)
    await wait_until(is_limited)


async def test_tokens_of_prompt_and_reply_are_taken_and_no_reply_begins_without_any(
    population: Population,
) -> None:
    await limit(population, tokens_per_minute=1)
    async with population.client("acme") as client:
        first = await client.post(CHAT, json=chat_body("one two three", max_tokens=100))
        used = first.json()["usage"]["total_tokens"]

        async def is_settled() -> bool:
            # What was reserved is more than 100.
            return await tokens_left(population) > -100

        await wait_until(is_settled)
        left = await tokens_left(population)
        second = await client.post(CHAT, json=chat_body())

    assert used > 3
    # A bucket of one token, and what comes in while the test runs.
    assert 1 - used - TOKENS.advance - 0.001 <= left < 1 - used + 10
    check_refused(second, "tokens_per_minute", "populace tenant limit acme --tokens-per-minute")
    assert first.headers["x-ratelimit-limit-tokens"] == "1"
    assert second.headers["x-ratelimit-limit-tokens"] == "1"
    assert len(await population.log("ada")) == 1
    assert len(population.engine.requests) == 1


async def test_a_stream_and_each_of_several_choices_is_counted(population: Population) -> None:
    await limit(population, tokens_per_minute=1)
    async with population.client("acme") as client:
        reply = await client.post(CHAT, json=chat_body(n=4, stream=True, max_tokens=50))
    told = [request.request_id for request in population.engine.requests]

    async def is_settled() -> bool:
        return await tokens_left(population) > -50

    await wait_until(is_settled)
    left = await tokens_left(population)

    assert reply.text.endswith("data: [DONE]\n\n")
    assert len(told) == 4
    # Four prompts with replies of three tokens each.
    assert left < 1 - 4 * 3


async def test_a_reply_that_fails_gives_its_tokens_back(population: Population) -> None:
    await limit(population, tokens_per_minute=1)
    population.engine.failure = HostUnavailable("engine", "it failed")
    async with population.client("acme") as client:
        failed = await client.post(CHAT, json=chat_body(max_tokens=100))

        async def is_full() -> bool:
            return await tokens_left(population) == 1.0

        await wait_until(is_full)
        population.engine.failure = None
        again = await client.post(CHAT, json=chat_body(max_tokens=100))

    assert (failed.status_code, again.status_code) == (503, 200)


async def test_embedding_and_asking_the_population_take_tokens(population: Population) -> None:
    await limit(population, tokens_per_minute=1)
    for name in ("bob", "cyd"):
        await population.create(name)
    async with population.client("acme") as client:
        for name in ("ada", "bob", "cyd"):
            await client.put(f"{ONE}/{name}/sharing", json={"sharing": "texts"})
        asked = await client.post(
            "/v1/population/answers", json={"question": "Rome?", "choices": ["yes", "no"], "k": 3}
        )
        refused = await client.post("/v1/embeddings", json={"model": "base", "input": "some words"})

    assert asked.status_code == 200, asked.text
    check_refused(refused, "tokens_per_minute", "populace tenant limit acme --tokens-per-minute")


async def test_people_are_limited_however_they_come(population: Population) -> None:
    await limit(population, people=2)
    async with population.client("acme") as client:
        made = await client.post(ONE, json={"name": "bob"})
        refused = [
            await client.post(ONE, json={"name": "cyd"}),
            await client.post(f"{ONE}/ada/fork", json={"name": "cyd"}),
            await client.post(f"{ONE}/import", content=b"an archive"),
            await client.post(f"{ONE}/cyd/revisions", params={"create": True}, content=b"an adapter"),
        ]
        await client.delete(f"{ONE}/bob")
        again = await client.post(ONE, json={"name": "cyd"})

    assert (made.status_code, again.status_code) == (201, 201)
    for reply in refused:
        check_refused(reply, "people", "populace tenant limit acme --people")
        assert reply.headers["x-should-retry"] == "false"
        assert "retry-after" not in reply.headers
    assert await names(population) == ["ada", "cyd"]


async def test_people_who_come_at_once_are_no_more_than_there_may_be(population: Population) -> None:
    await limit(population, people=5)
    async with population.client("acme") as client:
        replies = await asyncio.gather(
            *(client.post(ONE, json={"name": f"m{number}"}) for number in range(20))
        )

    statuses = [reply.status_code for reply in replies]
    assert (statuses.count(201), statuses.count(429)) == (4, 16)
    assert len(await names(population)) == 5


async def test_a_person_that_exists_already_leaves_the_room_for_others(population: Population) -> None:
    await limit(population, people=2)
    async with population.client("acme") as client:
        taken = await client.post(ONE, json={"name": "ada"})
        made = await client.post(ONE, json={"name": "bob"})

    assert (taken.status_code, made.status_code) == (409, 201)


async def test_open_trainings_are_limited(population: Population) -> None:
    await population.create("bob")
    await limit(population, open_jobs=1)
    async with population.client("acme") as client:
        first = await client.post(f"{ONE}/ada/jobs", json={"method": "sft"})
        refused = await client.post(f"{ONE}/bob/jobs", json={"method": "sft"})
        await client.delete(f"{ONE}/ada/jobs")
        again = await client.post(f"{ONE}/bob/jobs", json={"method": "sft"})

    assert (first.status_code, again.status_code) == (202, 202)
    check_refused(refused, "open_jobs", "populace tenant limit acme --open-jobs")


async def test_at_its_limit_of_bytes_a_tenant_records_no_turn_and_may_erase(population: Population) -> None:
    now_s = 1000.0
    state = population.app.state
    limiter = Limiter(population.directory, monotonic=lambda: now_s)
    state.gateway = replace(state.gateway, limiter=limiter)
    await limit(population, bytes=1)
    async with population.client("acme") as client:
        first = await client.post(CHAT, json=chat_body())
        now_s += BYTES_SECONDS + 1
        turns: list[tuple[str, dict[str, Any]]] = [
            (CHAT, chat_body()),
            ("/v1/responses", {"model": "ada", "input": "hello"}),
        ]
        refused = [await client.post(path, json=body) for path, body in turns]
        peeked = await client.post(CHAT, json=chat_body(model="ada:peek"))
        of_base = await client.post(CHAT, json=chat_body(model="base"))
        await client.delete(f"{ONE}/ada")
        await population.create("ada")
        now_s += BYTES_SECONDS + 1
        again = await client.post(CHAT, json=chat_body())

    assert [reply.status_code for reply in (first, peeked, of_base, again)] == [200, 200, 200, 200]
    for reply in refused:
        check_refused(reply, "bytes", "populace tenant limit acme --bytes")
    assert len(await population.log("ada")) == 1


async def test_a_host_that_does_not_answer_for_limits_makes_no_request_fail(
    population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "ANSWER_SECONDS", 0.05)
    away = [HostUnavailable("host-0", "it restarts")] * 10_000
    clients = [FailingClient(LocalHostClient(host), {"rates.take": list(away)}) for host in population.hosts]
    limiter = Limiter(Directory.over(clients, shard_count=SHARDS))
    state = population.app.state
    state.gateway = replace(state.gateway, limiter=limiter)
    await limit(population, requests_per_minute=1)
    async with population.client("acme") as client:
        statuses = [(await client.get(MODELS)).status_code for _ in range(3)]

    assert statuses == [200, 200, 200]


class SharedHosts:
    """Two hosts on a clock that the test drives, and several gateways over them."""

    def __init__(self, path: Path, gateways: int) -> None:
        self.clock = FakeClock()
        store = Store.create_or_open(path, HOST_SHARDS)
        self.hosts = local_hosts(store, self.clock)
        clients = [FailingClient(LocalHostClient(host), {}) for host in self.hosts]
        self.calls: list[str] = []
        for client in clients:
            client.calls = self.calls
        directory = Directory.over(clients, shard_count=store.shards)
        self.limiters = [Limiter(directory, monotonic=self.clock.monotonic) for _ in range(gateways)]

    def close(self) -> None:
        for host in self.hosts:
            host.close()


@pytest.fixture
async def four_gateways(tmp_path: Path) -> AsyncGenerator[SharedHosts]:
    shared = SharedHosts(tmp_path / "store", 4)
    yield shared
    shared.close()


PER_MINUTE = 6000
SECONDS = 180
STEP_S = 0.1


async def test_four_gateways_keep_to_a_limit_of_requests_within_five_percent(
    four_gateways: SharedHosts,
) -> None:
    caller = KeyHolder("acme", "key", limits=Limits(requests_per_minute=PER_MINUTE))
    admitted = [0] * round(SECONDS / STEP_S)
    for step in range(len(admitted)):
        for number, limiter in enumerate(four_gateways.limiters):
            # Unevenly: the first gateway has most of the flood.
            for _ in range(12 if number == 0 else 3):
                try:
                    await limiter.begin(caller)
                except LimitReached:
                    break
                admitted[step] += 1
        four_gateways.clock.advance(STEP_S)

    minute = round(60 / STEP_S)
    minutes = [sum(admitted[start : start + minute]) for start in range(0, len(admitted) - minute, 10)]
    assert max(minutes) <= 1.05 * PER_MINUTE
    assert min(minutes) >= 0.95 * PER_MINUTE
    # About three a second of each gateway, and those that are refused.
    assert len(four_gateways.calls) < sum(admitted) / 5


async def test_four_gateways_keep_to_a_limit_of_tokens_within_five_percent(
    four_gateways: SharedHosts,
) -> None:
    caller = KeyHolder("acme", "key", limits=Limits(tokens_per_minute=PER_MINUTE))
    used = [0.0] * round(SECONDS / STEP_S)
    for step in range(len(used)):
        for limiter in four_gateways.limiters:
            allowance = await limiter.begin(caller)
            assert allowance is not None
            allowance.plan(60.0)
            try:
                await allowance.reserve()
            except LimitReached:
                continue
            # Some replies are shorter than reserved, some prompts longer than estimated.
            taken = 20.0 if step % 3 else 90.0
            allowance.settle(60.0, taken)
            used[step] += taken
            for _ in range(5):
                await asyncio.sleep(0)
        four_gateways.clock.advance(STEP_S)

    minute = round(60 / STEP_S)
    minutes = [sum(used[start : start + minute]) for start in range(0, len(used) - minute, 10)]
    assert max(minutes) <= 1.05 * PER_MINUTE
    assert min(minutes) >= 0.95 * PER_MINUTE


async def test_limits_of_other_tenants_are_other_buckets(four_gateways: SharedHosts) -> None:
    limiter = four_gateways.limiters[0]
    limits = Limits(requests_per_minute=1)
    await limiter.begin(KeyHolder("acme", "one", limits=limits))
    await limiter.begin(KeyHolder("globex", "two", limits=limits))

    with pytest.raises(LimitReached, match="tenant acme"):
        await limiter.begin(KeyHolder("acme", "other key", limits=limits))


async def test_jobs_of_python_programs_in_the_cluster_are_not_limited(population: Population) -> None:
    await population.create("bob")
    await limit(population, open_jobs=0, people=0)

    await population.directory.create_model(ModelId("acme", "cyd"))

    assert await names(population) == ["ada", "bob", "cyd"]
