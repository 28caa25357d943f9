# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The hosts of a store node are handed over to another one while people talk to them."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError
from ray.experimental.internal_kv import (
    _internal_kv_list,  # pyright: ignore[reportUnknownVariableType]  # untyped
)

from populace.actors.draining import DrainRefused
from populace.actors.errors import HostUnavailable, StartFailed
from populace.cluster.drain_notes import PREFIX, drains, noted_drain
from populace.cluster.draining import drain as drain_module
from populace.cluster.draining.drain import drain_node, next_node, node_called, store_nodes_found
from populace.engines.engine_nodes import TABLE
from populace.hosting.host_actor import begin_hosts
from populace.hosting.store_node import STORE_LABELS
from populace.settings.environment import process_environment
from populace.storage.records.master_key import MASTER_KEY_FILE
from scripts.bench.failover.store_machines import StoreMachines, store_machines
from tests.actors.conversations import Conversations
from tests.actors.fakes import BASE
from tests.actors.ray_nodes import ray_nodes
from tests.limits import HANG_SECONDS
from tests.runtime.hosting.test_failover import directories_open

pytestmark = pytest.mark.ray

HOSTS = 2
SHARDS = 4
CLIENTS = 8
MODELS = 8
ACKNOWLEDGED = 30
DRAINING = """
import sys, ray
from populace.cluster.drain_notes import noted_drain
from populace.hosting.messages import NAMESPACE

ray.init(address=sys.argv[1], namespace=NAMESPACE, log_to_driver=False)
with noted_drain(sys.argv[2], "the node"):
    print("noted", flush=True)
    sys.stdin.read()
"""


async def drain(machines: StoreMachines, name: str) -> list[str]:
    """Drain a machine, and return what was reported."""
    steps: list[str] = []
    await asyncio.to_thread(drain_node, machines.node_id(name), steps.append)
    return steps


async def test_hosts_are_handed_over_under_load_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    # What is acknowledged is not in the journal yet: a host that ends without shipping it loses it.
    with store_machines(tmp_path, shards=SHARDS, is_sync=False) as machines:
        machines.add("one")
        machines.start_hosts(HOSTS, BASE, preferred="one")
        talk = Conversations(machines.directory(), clients=CLIENTS, models=MODELS)
        await talk.begin()
        await talk.wait_acknowledged(ACKNOWLEDGED)

        with pytest.raises(DrainRefused, match="there is no other store node"):
            await drain(machines, "one")
        with pytest.raises(DrainRefused, match=r"no store node is called so, .* has to be named"):
            await asyncio.to_thread(drain_node, "attic", print)
        machines.add("two", has_key=False)
        with pytest.raises(DrainRefused, match=f"cannot serve them: .*{MASTER_KEY_FILE}"):
            await drain(machines, "one")
        shutil.copy(machines.key, machines.data("two") / MASTER_KEY_FILE)
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED)
        assert directories_open(machines) == {"one"}, "who was refused goes on"

        steps = await drain(machines, "one")
        assert {step.split()[0] for step in steps[1:]} == {"populace-host-0", "populace-host-1"}
        assert directories_open(machines) == {"two"}
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED)
        assert (await drain(machines, "one"))[0].endswith("has no hosts")

        both = await asyncio.gather(drain(machines, "two"), drain(machines, "two"), return_exceptions=True)
        assert {type(ended) for ended in both} <= {list, DrainRefused}, both
        assert list in {type(ended) for ended in both}
        assert directories_open(machines) == {"one"}
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED)
        await talk.finish()

        await talk.check_logs()
        # A wait that is too long is the only thing that happens to anybody.
        assert {type(error) for error in talk.errors} <= {HostUnavailable}
        await asyncio.gather(*(handle.check_integrity.remote() for handle in machines.handles))


@pytest.mark.release("cluster")
async def test_a_host_stays_that_cannot_give_up_its_shards_and_starts_anew_if_none_comes_after_it(
    tmp_path: Path,
) -> None:
    with store_machines(tmp_path, shards=SHARDS, is_sync=False) as machines:
        machines.add("one")
        machines.start_hosts(1, BASE, preferred="one")
        talk = Conversations(machines.directory(), clients=CLIENTS, models=MODELS)
        await talk.begin()
        await talk.wait_acknowledged(ACKNOWLEDGED)
        process = machines.host_process(0)
        (handle,) = machines.handles

        bucket = Path(machines.journal.url.removeprefix("file://"))
        await asyncio.to_thread(bucket.rename, tmp_path / "away")
        with pytest.raises(RayTaskError, match="journal"):
            await handle.hand_over.remote()
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED)
        assert machines.host_process(0) == process
        await asyncio.to_thread((tmp_path / "away").rename, bucket)

        await handle.hand_over.remote()
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED)
        assert machines.host_process(0) != process
        await talk.finish()

        await talk.check_logs()
        assert {type(error) for error in talk.errors} <= {HostUnavailable}


@pytest.mark.release("cluster")
async def test_a_shard_that_cannot_go_on_elsewhere_is_said_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "OPEN_SECONDS_MAX", 5.0)
    with store_machines(tmp_path, shards=SHARDS) as machines:
        machines.add("one")
        machines.add("two")
        machines.start_hosts(1, BASE, preferred="one")
        talk = Conversations(machines.directory(), clients=CLIENTS, models=MODELS)
        await talk.begin()
        await talk.wait_acknowledged(ACKNOWLEDGED)
        await talk.finish()

        def start_damaged(*arguments: Any, **options: Any) -> list[Any]:
            damage_segment(machines, 1)
            return begin_hosts(*arguments, **options)

        # Damaged once it was read, and given up: the host that leaves mends what is damaged before.
        monkeypatch.setattr(drain_module, "begin_hosts", start_damaged)
        with pytest.raises(StartFailed, match=f"it serves {SHARDS - 1} of {SHARDS} shards"):
            await drain(machines, "one")

        # The first node's disk has all of it.
        monkeypatch.undo()
        await drain(machines, "two")
        assert directories_open(machines) == {"one"}
        await talk.check_logs()


@pytest.mark.release("cluster")
async def test_what_is_damaged_of_a_journal_is_mended_before_the_hosts_are_handed_over(
    tmp_path: Path,
) -> None:
    with store_machines(tmp_path, shards=SHARDS) as machines:
        machines.add("one")
        machines.add("two")
        machines.start_hosts(1, BASE, preferred="one")
        talk = Conversations(machines.directory(), clients=CLIENTS, models=MODELS)
        await talk.begin()
        await talk.wait_acknowledged(ACKNOWLEDGED)
        damage_segment(machines, 1)

        await drain(machines, "one")

        assert directories_open(machines) == {"two"}
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED)
        await talk.finish()
        await talk.check_logs()
        assert {type(error) for error in talk.errors} <= {HostUnavailable}


def damage_segment(machines: StoreMachines, shard: int) -> None:
    """Cut the last segment but one of a shard's journal, which its owner does not read again."""
    bucket = Path(machines.journal.url.removeprefix("file://"))
    *_, segment, _ = sorted(bucket.glob(f"*/shard-{shard:04d}/j/*"))
    segment.write_bytes(segment.read_bytes()[:-1])


@pytest.mark.release("cluster")
def test_a_drain_keeps_others_from_its_node_until_it_is_killed() -> None:
    with ray_nodes([STORE_LABELS, STORE_LABELS]):
        leaving, other = store_nodes_found()
        with drain_of(other.id) as draining:
            with pytest.raises(DrainRefused, match="no other store node"):
                next_node(leaving, store_nodes_found())
            with (
                pytest.raises(
                    DrainRefused, match=rf"^attic keeps .* since 2.* by the process {draining.pid} on "
                ),
                noted_drain(other.id, "attic"),
            ):
                pass
            with noted_drain(leaving.id, "cellar"):
                assert len(drains()) == 2
            draining.kill()
            # This one waits until Ray knows that the other one is gone.
            with noted_drain(other.id, "attic", wait_seconds=HANG_SECONDS):
                assert next_node(other, store_nodes_found()) == node_called(leaving.id, store_nodes_found())
        assert next_node(leaving, store_nodes_found()) == node_called(other.id, store_nodes_found())
        assert _internal_kv_list(PREFIX, namespace=TABLE) == [], "what was killed has no note any more"


@contextlib.contextmanager
def drain_of(node: str) -> Generator[subprocess.Popen[str]]:
    """Begin a process that drains a node, and moves nothing."""
    address: str = ray.get_runtime_context().gcs_address
    with subprocess.Popen(
        [sys.executable, "-c", DRAINING, address, node],
        env=process_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as draining:
        assert draining.stdout is not None
        assert draining.stdout.readline() == "noted\n"
        yield draining
        draining.kill()
