# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Two replicas on one machine under Ray Serve: who is asked, what they publish, and what a death changes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import ray
from ray import serve
from ray.exceptions import RayError
from ray.util import list_named_actors

from populace.actors.engine import AdapterRef, BaseInfo, GenerateRequest, Sampling
from populace.actors.errors import EngineUnavailable
from populace.adapters.random_adapter import write_random_adapter
from populace.base.files import fingerprint
from populace.engines import routes
from populace.engines.client import APPLICATION, DEPLOYMENT, ReplicaEngine
from populace.engines.options import EngineOptions
from populace.engines.replica import engine_application
from populace.hosting.messages import NAMESPACE
from populace.node_files.ray_hosts import StoreHosts
from populace.policies.holdings import Holdings, mark_of
from populace.policies.routing import load_max
from populace.storage.revisions import adapter_digest
from tests.actors.populations import ray_running
from tests.limits import ENGINE_HANG_SECONDS
from tests.small_base import make_small_base

pytestmark = [
    pytest.mark.engine,
    pytest.mark.ray,
    pytest.mark.release("cluster"),
    pytest.mark.asyncio(loop_scope="module"),
]

PEOPLE = 12
SLOTS = 8
"""So that a replica which is asked for everybody's adapter has to let some go."""

CROWD = 24
"""Requests at once, of which one replica gets no more than ``load_max(CROWD, 2)``."""


_ray: Any = ray
_serve: Any = serve


@pytest.fixture(scope="module")
def small_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base"), base_directory)


@pytest.fixture(scope="module")
def people(small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    root = tmp_path_factory.mktemp("people")
    return [write_adapter(root / str(seed), small_base, seed) for seed in range(PEOPLE)]


@pytest.fixture
def newcomer(small_base: Path, tmp_path: Path) -> AdapterRef:
    """An adapter that no replica was asked for."""
    return write_adapter(tmp_path / "newcomer", small_base, PEOPLE)


def write_adapter(folder: Path, small_base: Path, seed: int) -> AdapterRef:
    path = write_random_adapter(folder, small_base, seed=seed, rank=4, targets=("q_proj",), scale=1.0)
    return AdapterRef(adapter_digest(path)[0], str(path))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(small_base: Path) -> AsyncGenerator[ReplicaEngine]:
    """A client of two torch replicas, as a gateway has it."""
    options = EngineOptions(
        small_base,
        fingerprint(small_base),
        context_tokens=256,
        sequences_max=8,
        adapter_slots=SLOTS,
        threads=1,
    )
    with ray_running():
        _serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        application = engine_application(
            "torch",
            options,
            StoreHosts(NAMESPACE, ()),
            gpus=0,
            replicas=2,
            environment={"OMP_NUM_THREADS": "1"},
        )
        try:
            await asyncio.to_thread(_serve.run, application, name=APPLICATION, route_prefix=None)
            client = ReplicaEngine(BaseInfo("small", "f" * 64, 256))
            yield client
            client.close()
        finally:
            await asyncio.to_thread(_serve.shutdown)


async def reply(client: ReplicaEngine, adapter: AdapterRef | None, *, tokens: int = 2) -> str:
    sampling = Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True)
    request = GenerateRequest("request", "hello", sampling, adapter, stream=False)
    return "".join([delta.text async for delta in client.generate(request)])


def replicas() -> dict[str, Any]:
    """The replicas' actors, by name; without one that ends while they are listed."""
    named: Any = list_named_actors(all_namespaces=True)
    names = [one["name"] for one in named]
    mine: dict[str, Any] = {}
    for name in names:
        if f"{APPLICATION}#{DEPLOYMENT}#" in name:
            with suppress(ValueError):
                mine[name] = _ray.get_actor(name, namespace="serve")
    return mine


async def holders(adapter: AdapterRef) -> list[str]:
    """Who says to have an adapter in its engine."""
    summaries = {name: await published(one) for name, one in replicas().items()}
    tiers = {name: Holdings.read(one).tier(mark_of(adapter.digest)) for name, one in summaries.items()}
    return [name for name, tier in tiers.items() if tier == "hot"]


async def published(replica: Any) -> dict[str, Any]:
    """What a replica has for Serve to publish: nothing if it starts or is dead."""
    try:
        return await replica.record_routing_stats.remote()
    except RayError:
        return {}


async def routed(why: str, send: Callable[[], Any]) -> None:
    """Send until a request was routed for this reason."""
    before = routes.ROUTED[why]
    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        while routes.ROUTED[why] == before:
            await send()


async def test_requests_of_one_adapter_find_the_replica_that_holds_it(
    client: ReplicaEngine, people: list[AdapterRef]
) -> None:
    before = routes.ROUTED["hot"]
    replies = {await reply(client, people[0]) for _ in range(10)}

    assert len(await holders(people[0])) == 1
    assert routes.ROUTED["hot"] - before == 9
    assert len(replies) == 1


async def test_different_adapters_spread(client: ReplicaEngine, people: list[AdapterRef]) -> None:
    await asyncio.gather(*(reply(client, one, tokens=20) for one in people))

    held = [await holders(one) for one in people]
    assert all(len(names) == 1 for names in held), "no adapter was loaded twice"
    assert {name for names in held for name in names} == set(replicas())


async def test_what_replicas_publish_reaches_the_router(
    client: ReplicaEngine, people: list[AdapterRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "SENT_SECONDS", 0.0)
    await reply(client, people[0])

    await routed("hot", lambda: reply(client, people[0]))


async def test_a_summary_does_not_grow_with_what_a_replica_was_asked_for(
    client: ReplicaEngine, people: list[AdapterRef]
) -> None:
    await asyncio.gather(*(reply(client, one) for one in people * 3))

    for one in replicas().values():
        summary = await published(one)
        assert len(summary["hot"]) <= 8 * SLOTS
        assert summary["warm"] == b""


async def test_every_replica_reports_its_own_figures(client: ReplicaEngine) -> None:
    await client.check()
    report = await client.report()

    # A quarter of the places, and as many slots, are for tenants without a chat in the engine.
    slots = SLOTS + 2
    assert {number: one.adapter_slots for number, one in report.replicas.items()} == {0: slots, 1: slots}
    assert sum(client.routed().values()) == sum(routes.ROUTED.values()) > 0


async def test_the_first_request_for_a_prepared_adapter_goes_where_it_was_prepared(
    client: ReplicaEngine, small_base: Path, people: list[AdapterRef], tmp_path: Path
) -> None:
    prepared = write_adapter(tmp_path / "prepared", small_base, PEOPLE + 1)
    await client.prepare(prepared, people[0])
    before = routes.ROUTED["hot"]

    await reply(client, prepared)

    assert routes.ROUTED["hot"] - before == 1


async def test_a_hot_adapter_is_served_by_both_when_many_ask_for_it(
    client: ReplicaEngine, people: list[AdapterRef]
) -> None:
    before = routes.ROUTED["overflow"]

    replies = await asyncio.gather(*(reply(client, people[1], tokens=30) for _ in range(CROWD)))

    assert len(set(replies)) == 1
    assert sorted(await holders(people[1])) == sorted(replicas())
    assert 0 < routes.ROUTED["overflow"] - before <= CROWD
    assert load_max(CROWD, 2) < CROWD


async def test_requests_of_a_replica_that_is_killed_go_to_the_other_and_come_back(
    client: ReplicaEngine, people: list[AdapterRef], newcomer: AdapterRef
) -> None:
    expected = await reply(client, newcomer)
    [holder] = await holders(newcomer)
    [survivor] = replicas().keys() - {holder}
    in_flight = [asyncio.create_task(reply(client, newcomer, tokens=200)) for _ in range(3)]

    _ray.kill(replicas()[holder])

    assert await reply(client, newcomer) == expected
    ended = await asyncio.gather(*in_flight, return_exceptions=True)
    assert all(isinstance(one, str | EngineUnavailable) for one in ended)
    assert survivor in await holders(newcomer)
    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        while not await holders_beside(survivor, client, people):
            pass


async def holders_beside(survivor: str, client: ReplicaEngine, people: list[AdapterRef]) -> set[str]:
    """Ask for everybody's model at once; tells who holds one by then, beside the survivor."""
    await asyncio.gather(*(reply(client, one, tokens=20) for one in people))
    return {name for one in people for name in await holders(one)} - {survivor}
