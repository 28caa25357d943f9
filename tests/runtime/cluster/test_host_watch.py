# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A host that is nowhere, as its drain was killed after the host had ended, is started by what watches."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from populace.actors.errors import HostUnavailable
from populace.cluster import host_watch
from populace.cluster.former_parts import former_names
from populace.cluster.host_watch import HostStart, HostWatch
from populace.cluster.watching import watched
from populace.hosting.messages import host_name
from populace.hosting.store_node import STORE_LABELS
from populace.settings.environment import process_environment
from scripts.bench.failover.store_machines import (
    StoreMachines,
    bench_environment,
    bench_hosts,
    store_machines,
)
from tests.actors.conversations import Conversations
from tests.actors.fakes import BASE
from tests.limits import HANG_SECONDS
from tests.runtime.cluster.test_draining import drain, drain_of
from tests.runtime.hosting.test_failover import directories_open

pytestmark = [pytest.mark.ray, pytest.mark.release("cluster")]

HOSTS = 2
SHARDS = 4
ACKNOWLEDGED = 30
KILLED = """
import os, signal, sys, ray
from populace.cluster.draining import drain
from populace.hosting.messages import NAMESPACE

ray.init(address=sys.argv[1], namespace=NAMESPACE, log_to_driver=False)
# In place of the start of the host's successor.
drain.begin_hosts = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
drain.drain_node(sys.argv[2], print)
"""


def watch_of(machines: StoreMachines, hosts: int, reports: list[str]) -> HostWatch:
    options = bench_hosts(machines.store, machines.journal, hosts, BASE, home=machines.home())
    start = HostStart(options, bench_environment(), STORE_LABELS, machines.node_id("one"))
    return HostWatch(start, reports.append)


async def test_hosts_whose_drain_was_killed_between_their_end_and_the_next_start_serve_again(
    tmp_path: Path,
) -> None:
    reports: list[str] = []
    with store_machines(tmp_path, shards=SHARDS, is_sync=False) as machines:
        machines.add("one")
        machines.add("two")
        machines.start_hosts(HOSTS, BASE, preferred="one")
        with watched("hosts", watch_of(machines, HOSTS, reports).look):
            talk = Conversations(machines.directory(), clients=HOSTS * 4, models=HOSTS * 4)
            await talk.begin()
            await talk.wait_acknowledged(ACKNOWLEDGED)

            address: str = ray.get_runtime_context().gcs_address
            command = [sys.executable, "-c", KILLED, address, machines.node_id("one")]
            killed = await asyncio.create_subprocess_exec(
                *command, env=process_environment(), stdout=subprocess.DEVNULL
            )
            await killed.wait()
            assert len(former_names()) < HOSTS
            await asyncio.wait_for(talk.finish(), HANG_SECONDS)

            assert reports
            await drain(machines, "one")
            assert directories_open(machines) == {"two"}
            await talk.check_logs()
            assert {type(error) for error in talk.errors} <= {HostUnavailable}


def test_a_host_that_a_living_drain_moves_is_its_own_unless_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_watch, "NOWHERE_SECONDS", 0.0)
    reports: list[str] = []
    with store_machines(tmp_path, shards=SHARDS) as machines:
        machines.add("one")
        machines.start_hosts(1, BASE, preferred="one")
        watch = watch_of(machines, 1, reports)
        watch.look()
        assert not reports
        with drain_of(machines.node_id("one")):
            ray.kill(machines.handles[0])
            while former_names():
                time.sleep(0.05)
            watch.look()
            monkeypatch.setattr(host_watch, "MOVING_SECONDS_MAX", 0.0)
            watch.look()
            assert former_names() == [], "no store node stays for it"
            machines.add("two")
            watch.look()
            assert former_names() == [host_name(0)]
            watch.look()
        assert len(reports) == 1
        while not directories_open(machines):
            time.sleep(0.05)
        assert directories_open(machines) == {"two"}
