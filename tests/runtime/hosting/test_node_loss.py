# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""Hosts on a Ray of three nodes, all on this machine: what is left when a host or a whole node is killed."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from populace.actors.errors import HostUnavailable
from tests.actors.conversations import Conversations
from tests.actors.populations import ray_directory, ray_hosts
from tests.actors.ray_nodes import ray_nodes
from tests.living import wait_ended

pytestmark = pytest.mark.ray

UNLABELLED: list[dict[str, str]] = [{}, {}, {}]
CLIENTS = 20
MODELS = 8
ACKNOWLEDGED_BEFORE_THE_KILL = 40
ACKNOWLEDGED_AFTERWARDS = 40
MOVES_MAX = 20
"""A host starts on the driver's node once in three times, and is moved away by a restart."""

QUICK_DEATHS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}
"""Ray's own defaults take 15 s to see that a node is gone; a slow one gets its 10 s all the same."""


async def process_of(handle: Any) -> psutil.Process:
    """The host's process; waits for one that restarts."""
    return psutil.Process(await handle.process_id.options(max_task_retries=-1).remote())


async def process_off(raylet: int, handle: Any) -> psutil.Process:
    """The host's process on another node than this raylet's; Ray chose the node, so it may have to move."""
    for _ in range(MOVES_MAX):
        process = await process_of(handle)
        if process.ppid() != raylet:
            return process
        process.kill()
        process.wait()
    raise AssertionError("the host always starts on the driver's node")


async def successor_of(lost: psutil.Process, handle: Any) -> psutil.Process:
    """The process in which Ray restarted the host. A host whose raylet is dead may serve on for seconds."""
    while (process := await process_of(handle)).pid == lost.pid:
        pass
    return process


@pytest.mark.parametrize("victim", [pytest.param("host", marks=pytest.mark.release("cluster")), "node"])
async def test_every_acknowledged_turn_survives_the_loss_of_a_host_or_of_its_node_once(
    tmp_path: Path, victim: str
) -> None:
    with (
        ray_nodes(UNLABELLED, config=QUICK_DEATHS) as raylets,
        ray_hosts(tmp_path / "store") as (store, handles),
    ):
        talk = Conversations(ray_directory(handles, store), clients=CLIENTS, models=MODELS)
        lost = await process_off(raylets[0], handles[0])
        node = lost.ppid()

        await talk.begin()
        await talk.wait_acknowledged(ACKNOWLEDGED_BEFORE_THE_KILL)
        if victim == "node":
            # One that hangs cannot end by itself when its node does.
            lost.suspend()
        os.kill(lost.pid if victim == "host" else node, signal.SIGKILL)
        successor = await successor_of(lost, handles[0])
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED_AFTERWARDS)
        await talk.finish()

        assert wait_ended([lost]) == []
        if victim == "node":
            assert successor.ppid() != node
        else:
            # Ray restarts a host sooner than the directory gives up waiting for it.
            assert not [error for error in talk.errors if isinstance(error, HostUnavailable)]
        await talk.check_logs()
        await asyncio.gather(*(handle.check_integrity.remote() for handle in handles))
