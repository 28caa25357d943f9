# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Store nodes are lost one after the other; their hosts go on from the journal on the other one."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from populace.actors.errors import HostUnavailable
from populace.actors.turn import ModelId, TurnGrant
from populace.gateway.deployment import GatewayOptions
from populace.hosting.messages import PopulationInfo
from populace.hosting.store_node import NODE_ID
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.journaled_files import JournaledFiles
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.revisions import RevisionFiles
from populace.storage.store import REVISIONS_DIRECTORY
from populace.trainer.actor import TrainerOptions
from scripts.bench.failover.store_machines import StoreMachines, store_machines
from tests.actors.conversations import Conversations
from tests.actors.fakes import BASE
from tests.actors.test_journaled_hosts import revision_of
from tests.actors.turns import take_turn, turn_of
from tests.runtime.gateway.gateway_options import gateway_options
from tests.storage.adapters import packed

pytestmark = pytest.mark.ray

HOSTS = 2
SHARDS = 4
CLIENTS = 8
MODELS = 8
ACKNOWLEDGED = 40


def host_processes(machines: StoreMachines) -> list[psutil.Process]:
    pids: list[int] = ray.get([handle.process_id.remote() for handle in machines.handles])
    return [psutil.Process(pid) for pid in pids]


def directories_open(machines: StoreMachines) -> set[str]:
    """The names of the data directories of which the hosts have shards open."""
    maps = (one.path for process in host_processes(machines) for one in process.memory_maps())
    shards = (Path(path) for path in maps if path.endswith("data.mdb"))
    return {path.relative_to(machines.store.path.parent).parts[0] for path in shards}


async def described(handle: Any) -> PopulationInfo:
    """What a host says of itself, also if it is being started elsewhere just now."""
    return await handle.describe.options(max_task_retries=-1).remote()


async def all_open(machines: StoreMachines) -> None:
    for handle in machines.handles:
        while (await described(handle)).problem is not None:
            pass


def parts_of(machines: StoreMachines) -> tuple[GatewayOptions, TrainerOptions]:
    """Gateway and trainer as they are started at home, with its key."""
    path = machines.store.path
    home = machines.home()
    gateway = gateway_options(path, hosts=HOSTS, shards=SHARDS, master_key=machines.key, home=home)
    trainer = TrainerOptions(
        hosts=HOSTS,
        shards=SHARDS,
        data_directory=str(path),
        base=BASE,
        base_directory=str(path / "no-base"),
        rank_max=16,
        priority="idle",
        automatic=False,
        memory_module=None,
        master_key=machines.key,
        home=home,
    )
    return gateway, trainer


async def on_node(machines: StoreMachines, name: str, options: Any) -> Any:
    """The options as a process on a machine has them."""
    remote: Any = ray.remote(type(options).on_this_node)
    return await remote.options(label_selector={NODE_ID: machines.node_id(name)}).remote(options)


async def test_the_other_store_node_serves_what_was_acknowledged_and_so_does_the_first_when_it_is_back(
    tmp_path: Path,
) -> None:
    with store_machines(tmp_path, shards=SHARDS) as machines:
        machines.add("one", has_key=False)
        machines.start_hosts(HOSTS, BASE, preferred="one")
        machines.add("two")
        directory = machines.directory()

        # A node without the store's key says so, and serves once it is there.
        with pytest.raises(HostUnavailable, match=r"master_key_refused"):
            await directory.create_model(ModelId("acme", "nobody-is-served"))
        told = await described(machines.handles[0])
        assert "master_key_refused" in str(told.problem)
        assert told.data_directory == str(machines.data("one"))
        shutil.copy(machines.key, machines.data("one") / MASTER_KEY_FILE)
        await all_open(machines)

        talk = Conversations(directory, clients=CLIENTS, models=MODELS)
        await talk.begin()
        await talk.wait_acknowledged(ACKNOWLEDGED)
        assert directories_open(machines) == {"one"}
        adapters = JournaledFiles(machines.store.path, machines.store.store_id, machines.journal, None)
        digest, size = await asyncio.to_thread(adapters.add, packed("personal"))
        learned = ModelId("acme", "learned")
        await directory.create_model(learned, revision_of(digest, size))

        for options in parts_of(machines):
            assert options.on_this_node() == options, "this process is at home"
            found = await on_node(machines, "two", options)
            data = (
                found.destination.data_directory
                if isinstance(found, GatewayOptions)
                else found.data_directory
            )
            assert (str(data), found.master_key) == (str(machines.data("two")), None)

        # No two Populaces in one directory, whatever a variable says.
        with DirectoryLock(machines.data("two"), "another Populace"):
            machines.lose("one")
            while "store_in_use" not in str((await described(machines.handles[0])).problem):
                pass
        await talk.wait_acknowledged(len(talk.acknowledged) + ACKNOWLEDGED)
        await talk.finish()

        await talk.check_logs()
        assert directories_open(machines) == {"two"}
        assert {process.ppid() for process in host_processes(machines)} == {machines.raylet("two").pid}
        grant = await directory.begin_turn(turn_of(learned, "one"))
        assert isinstance(grant, TurnGrant)
        assert grant.adapter is not None
        assert Path(grant.adapter.path).is_relative_to(machines.data("two"))
        RevisionFiles(machines.data("two") / REVISIONS_DIRECTORY).verify(digest)
        await directory.abandon_turn(grant, "seen")

        # The first one is back with its old directory, behind by what came meanwhile.
        machines.add("one")
        machines.lose("two")
        await take_turn(directory, turn_of(learned, "two"))
        for model in talk.models:
            log = await directory.read_log(model, limit=1000)
            mine = [one for one in talk.acknowledged if one.model == model]
            assert len(log) == len(mine) + 1, "those that were acknowledged, and the one of the check"
        assert directories_open(machines) == {"one"}
        await asyncio.gather(*(handle.check_integrity.remote() for handle in machines.handles))
