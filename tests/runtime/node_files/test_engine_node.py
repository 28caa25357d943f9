# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Engines serve on a node without the store, and what an erased model had leaves every node.

Three nodes, all on this machine: the store's, one with a replica, and one whose replica was killed. What the
first one calls ``/proc/self/cwd/store`` is not there on the others, as if they were machines of their own.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from ray import serve

from populace.actors.engine import AdapterRef, BaseInfo, GenerateRequest, Message, Sampling
from populace.actors.errors import AdapterInvalid, EngineUnavailable
from populace.actors.hosts import Revision
from populace.actors.turn import ChatRequest, ModelId
from populace.adapters.base_modules import read_base_modules
from populace.adapters.packing import pack_peft_directory
from populace.adapters.random_adapter import ATTENTION, write_random_adapter
from populace.base.files import fingerprint
from populace.base.fingerprints import fetched_directory
from populace.cluster.serve_applications import delete, deploy
from populace.engines.client import APPLICATION, ReplicaEngine
from populace.engines.options import EngineOptions
from populace.engines.replica import engine_application
from populace.engines.torch_engine import TorchEngine
from populace.hosting.directory.directory import Directory
from populace.hosting.host_actor import start_hosts
from populace.hosting.messages import NAMESPACE, host_name
from populace.hosting.store_node import STORE_LABELS
from populace.node_files.ray_hosts import StoreHosts
from populace.settings.environment import OWN_RAY_ENVIRONMENT
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.store import Store
from populace.storage.warm_files import USERS, WarmFiles, warm_root
from tests.actors.populations import SHARDS, host_options, ray_directory
from tests.actors.ray_nodes import ray_nodes
from tests.actors.turns import turn_of
from tests.limits import ENGINE_HANG_SECONDS
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.asyncio(loop_scope="module")]

HERE = Path("/proc/self/cwd")
ENGINE_LABELS = {"populace.engine": "true"}
HOSTS = 2
ADA = ModelId("acme", "ada")
TARGETS = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
SEEN_BYTES = 64
"""So many bytes of a matrix are looked for: no other file has them by chance."""


@dataclass(frozen=True)
class Nodes:
    """The population, the folders of the two nodes without its store, and what is served there."""

    directory: Directory
    engine: ReplicaEngine
    reference: TorchEngine
    hosts: list[Any]
    store: Store
    base: str
    served: Path
    idle: Path


@pytest.fixture(scope="module")
def small_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    for name in ("store", "served", "idle"):
        (folder / name / "tmp").mkdir(parents=True)
    (folder / "store" / "base").mkdir()
    return make_small_base(folder / "store" / "base", base_directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(small_base: Path) -> AsyncGenerator[Nodes]:
    first = small_base.parent
    folders = [first, first.parent / "served", first.parent / "idle"]
    variables = [
        {
            "POPULACE_CACHE": str(folder / "cache"),
            "POPULACE_WARM_DIRECTORY": str(folder / "warm"),
            "TMPDIR": str(folder / "tmp"),
            # Ray's own niceness starves them beside anything else.
            "RAY_worker_niceness": OWN_RAY_ENVIRONMENT["RAY_worker_niceness"],
        }
        for folder in folders
    ]
    labels = [STORE_LABELS, {**ENGINE_LABELS, "has": "replica"}, ENGINE_LABELS]
    store = Store.create_or_open(first / "store", SHARDS)
    info = BaseInfo("small", fingerprint(small_base), 256)
    options = EngineOptions(HERE / "base", info.fingerprint, 256, adapter_slots=2, threads=1)
    hosts = StoreHosts(NAMESPACE, tuple(host_name(number) for number in range(HOSTS)))
    environment = {"OMP_NUM_THREADS": "1"}
    with ray_nodes(labels, folders=folders, variables=variables):
        handles = start_hosts(
            [
                host_options(store, number, HOSTS)._replace(
                    base=info,
                    base_directory=str(HERE / "base"),
                    data_directory=str(HERE / "store"),
                    has_engine=True,
                    sweep_seconds=0.1,
                )
                for number in range(HOSTS)
            ],
            environment=environment,
            nodes=STORE_LABELS,
        )
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        application = engine_application(
            "torch", options, hosts, gpus=0, replicas=1, environment=environment, nodes=labels[1]
        )
        await asyncio.to_thread(deploy, application, APPLICATION, print)
        engine = ReplicaEngine(info)
        async with reference_engine(options._replace(base_directory=small_base)) as reference:
            yield Nodes(
                ray_directory(handles, store),
                engine,
                reference,
                handles,
                store,
                info.fingerprint,
                *folders[1:],
            )
        engine.close()
        await asyncio.to_thread(delete, [APPLICATION])
        for handle in handles:
            await handle.close.remote()


@asynccontextmanager
async def reference_engine(options: EngineOptions) -> AsyncGenerator[TorchEngine]:
    engine = await TorchEngine.start(options)
    yield engine
    await engine.close()


def peft_adapter(small_base: Path, folder: Path, seed: int) -> Path:
    return write_random_adapter(folder, small_base, seed=seed, rank=4, targets=TARGETS, scale=1.0)


def packed_adapter(small_base: Path, folder: Path, seed: int) -> bytearray:
    modules = read_base_modules(small_base)
    return pack_peft_directory(peft_adapter(small_base, folder, seed), modules, rank_max=16)


def revision_of(digest: str, base: str) -> Revision:
    return Revision(digest, base, "imported", None, rank=4, adapter_bytes=1, created_ms=1)


def request_of(adapter: AdapterRef | None, *, tokens: int = 8) -> GenerateRequest:
    sampling = Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True)
    return GenerateRequest("request", "hello", sampling, adapter)


async def reply(engine: Any, adapter: AdapterRef | None) -> str:
    async with aclosing(engine.generate(request_of(adapter))) as deltas:
        return "".join([delta.text async for delta in deltas])


def files_with(part: bytes, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and part in path.read_bytes()]


def plant_images(digest: str, part: bytes, folder: Path) -> WarmFiles:
    """What a killed replica of vLLM's leaves, and what a living one has; returns the living one."""
    living = WarmFiles(warm_root(folder / "warm"))
    name = f"{digest}.BF16.test"
    living.add(name, part)
    killed = living.root / USERS / "killed"
    killed.mkdir()
    (killed / ".lock").touch()
    (killed / name).hardlink_to(living.root / name)
    return living


async def test_adapters_and_base_come_from_the_hosts(nodes: Nodes, small_base: Path, tmp_path: Path) -> None:
    peft = peft_adapter(small_base, tmp_path / "peft", 1)
    config, tensors = ((peft / f"adapter_{name}") for name in ("config.json", "model.safetensors"))
    of_schema_3, _ = nodes.store.revisions.add_directory(config.read_bytes(), tensors)
    packed, _ = nodes.store.revisions.add(packed_adapter(small_base, tmp_path / "other", 2))
    replies = {await reply(nodes.reference, None)}

    for digest in (of_schema_3, packed):
        path = nodes.store.revisions.path(digest)
        there = HERE / path.relative_to(small_base.parent)
        expected = await reply(nodes.reference, AdapterRef(digest, str(path)))
        assert await reply(nodes.engine, AdapterRef(digest, str(there))) == expected
        replies.add(expected)

    assert len(replies) == 3
    assert fingerprint(fetched_directory(nodes.base, nodes.served / "cache")) == nodes.base
    assert not list((nodes.served / "cache" / "bases").glob(".fetching-*"))


async def test_an_erased_models_adapter_leaves_every_node(
    nodes: Nodes, small_base: Path, tmp_path: Path
) -> None:
    packed = packed_adapter(small_base, tmp_path / "peft", 3)
    adapter = PackedAdapter(memoryview(packed))
    part = bytes(adapter.group_bytes(adapter.groups[0])[:SEEN_BYTES])
    with nodes.store.revisions.adding():
        digest, _ = nodes.store.revisions.add(packed)
        await nodes.directory.create_model(ADA, revision_of(digest, nodes.base))
    said = await nodes.directory.chat(
        ChatRequest(turn_of(ADA), (Message("user", "Hi."),), Sampling(max_tokens=4, ignore_eos=True))
    )
    living = [plant_images(digest, part, folder) for folder in (nodes.served, nodes.idle)]
    assert said.revision == digest
    assert {len(files_with(part, folder)) for folder in (nodes.served, nodes.idle)} == {3}

    await nodes.directory.erase_model(ADA)
    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        # Looking costs a core that the nodes need.
        while any(files_with(part, folder) for folder in (nodes.served, nodes.idle)):  # noqa: ASYNC110
            await asyncio.sleep(0.2)

    assert not files_with(part, nodes.store.path)
    gone = AdapterRef(digest, str(HERE / "store" / "revisions" / f"{digest}.adapter"))
    with pytest.raises(AdapterInvalid, match="no host of this Populace has its file"):
        await reply(nodes.engine, gone)
    for files in living:
        files.close()


async def test_hosts_that_restart_are_waited_for(nodes: Nodes, small_base: Path, tmp_path: Path) -> None:
    digest, _ = nodes.store.revisions.add(packed_adapter(small_base, tmp_path / "peft", 5))
    path = nodes.store.revisions.path(digest)
    expected = await reply(nodes.reference, AdapterRef(digest, str(path)))
    for handle in nodes.hosts:
        os.kill(await handle.process_id.remote(), signal.SIGKILL)

    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        while True:
            try:
                assert await reply(nodes.engine, AdapterRef(digest, str(HERE / path.name))) == expected
                break
            except EngineUnavailable:  # a host takes longer than 20 s on a very busy machine
                continue


async def test_what_a_request_uses_is_not_taken_for_erased(
    nodes: Nodes, small_base: Path, tmp_path: Path
) -> None:
    digest, _ = nodes.store.revisions.add(packed_adapter(small_base, tmp_path / "peft", 4))
    adapter = AdapterRef(digest, str(HERE / "store" / "revisions" / f"{digest}.adapter"))
    async with aclosing(nodes.engine.generate(request_of(adapter, tokens=200))) as deltas:
        await anext(deltas)
        with pytest.raises(EngineUnavailable, match="a replica still uses 1 of the adapters"):
            await nodes.engine.erase(frozenset({digest}))

    async with asyncio.timeout(ENGINE_HANG_SECONDS):
        while True:
            try:
                assert len(await nodes.engine.erase(frozenset({digest}))) == 1
                break
            except EngineUnavailable:
                continue
