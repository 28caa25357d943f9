# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""One of two real hosts hangs and is killed: the gateway serves on, and its metrics show the other one."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from populace.gateway.app import create_app
from populace.hosting.host_client import RayHostClient
from populace.hosting.host_survey import HostSurvey
from populace.hosting.messages import host_name
from tests.actors.populations import ray_directory, ray_hosts
from tests.limits import ENGINE_HANG_SECONDS
from tests.runtime.gateway.scripted_engine import ScriptedEngine
from tests.runtime.gateway.test_operations import samples_of

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]

NAMES = (host_name(0), host_name(1))


@pytest.fixture
async def handles_and_client(tmp_path: Path) -> AsyncGenerator[tuple[list[Any], httpx.AsyncClient]]:
    with ray_hosts(tmp_path / "store") as (store, handles):
        clients = {name: RayHostClient(handle, name) for name, handle in zip(NAMES, handles, strict=True)}
        engine = ScriptedEngine()
        app = create_app(
            ray_directory(handles, store),
            engine,
            probe_engine=engine,
            probe_hosts=HostSurvey(clients, shard_count=store.shards),
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://populace"
        ) as client:
            yield handles, client


async def up(client: httpx.AsyncClient) -> tuple[float, ...]:
    """Which hosts answer, by the metrics; a host whose turns are shown has answered."""
    samples = samples_of((await client.get("/metrics")).text)
    shown = tuple(samples["populace_host_up", (name,)] for name in NAMES)
    assert shown == tuple(float(("populace_host_turns_total", (name,)) in samples) for name in NAMES)
    return shown


async def wait_up(client: httpx.AsyncClient, *expected: float) -> None:
    """Wait for that: the second of a host that only has little processor time may pass without its answer."""
    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        while await up(client) != expected:
            pass


async def test_a_host_that_hangs_and_dies_takes_neither_readiness_nor_the_others_metrics_with_it(
    handles_and_client: tuple[list[Any], httpx.AsyncClient],
) -> None:
    handles, client = handles_and_client
    await wait_up(client, 1, 1)
    process = psutil.Process(await handles[0].process_id.remote())

    process.suspend()
    await wait_up(client, 0, 1)
    hanging = await client.get("/readyz")
    process.kill()
    await wait_up(client, 1, 1)
    restarted = await client.get("/readyz")

    assert (hanging.status_code, hanging.json()["status"]) == (200, "ready")
    assert hanging.json()["degraded"][NAMES[0]] == "does not answer"
    assert hanging.json()["unserved_share"] >= 0.5
    assert (restarted.status_code, restarted.json()["engine"]) == (200, "ok")
    assert (await handles[0].process_id.options(max_task_retries=-1).remote()) != process.pid
