# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# Ray's API is partly untyped.
"""The options of a host, and the host made of them on the node where it starts.

Adapters are erased from the memory of all nodes that may have them. A node's replica does it, which unloads
them as well. A node without a replica may have images of one that was killed there; it is asked by a task, if
it has a label of ours.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from populace.actors.engine import BaseInfo
from populace.actors.errors import EngineUnavailable, HostUnavailable
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import Hosts
from populace.encoder.on_use import EncoderOnUse
from populace.engines.client import ReplicaEngine
from populace.engines.traced_engine import TracedEngine
from populace.hosting.host_client import RayHostClient, connect_host
from populace.hosting.messages import GatewayAddress, host_name
from populace.hosting.shared_files import SharedPaths
from populace.hosting.store_node import NODE_ID, Home, own_base, own_encoder, own_module, own_settings
from populace.node_files.node import erase_here
from populace.node_files.ray_hosts import node_id
from populace.policies.placement import shards_of
from populace.settings.clock import SystemClock
from populace.settings.errors import SETTINGS_REFUSED
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.damage import damaged_shards
from populace.storage.journal.joining import check_follows, had_last, join_store
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.store import Store
from populace.suites.rewards import reward_names
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.tracing.own_process import own_process_use
from populace.telemetry.tracing.spans import TRACER

ANSWER_SECONDS_MAX = 10.0
"""How long they may take: meanwhile no adapter can be added."""


class OtherHosts:
    """The hosts of these numbers, found when they are first asked."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._clients: list[RayHostClient] = []

    async def adapters_in_use(self, digests: frozenset[str]) -> frozenset[str]:
        """Return those of the adapters that their models have.

        Raises ``HostUnavailable`` or ``StorageError`` if one does not know it now, or not in time.
        """
        try:
            if not self._clients:
                self._clients = [connect_host(number) for number in self._numbers]
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                asked = (client.call(Hosts.adapters_in_use, digests) for client in self._clients)
                used = await asyncio.gather(*asked)
        except (ValueError, TimeoutError) as error:
            raise HostUnavailable("another host", str(error) or "it does not answer") from error
        return frozenset[str]().union(*used)


NODE_SECONDS_MAX = 60.0
"""How long a node may take to start the process of a task and erase what it has."""

_OUR_LABELS = "populace."


class NodeImages:
    """What nodes have of adapters in their memory, seen from a host."""

    def __init__(self, engine: ReplicaEngine) -> None:
        self._engine = engine

    async def erase(self, digests: frozenset[str]) -> None:
        """Erase adapters from every replica, and from the memory of every node that is alive.

        Raises ``EngineUnavailable`` if a replica or node does not do it now. One that is gone for good is
        asked no more once Serve and Ray know it, and has nothing but what is in its machine's memory.
        """
        await asyncio.to_thread(erase_here, digests)
        done = {node_id(), *await self._engine.erase(digests)}
        others = await asyncio.to_thread(_nodes_of_ours)
        await asyncio.gather(*(_erase_on(node, digests) for node in others - done))


def _nodes_of_ours() -> set[str]:
    nodes: list[dict[str, Any]] = ray.nodes()
    return {
        node["NodeID"]
        for node in nodes
        if node["Alive"] and any(label.startswith(_OUR_LABELS) for label in node["Labels"])
    }


async def _erase_on(node: str, digests: frozenset[str]) -> None:
    # Any: Ray's types know a remote function only where the decorator is written on it.
    task: Any = ray.remote(erase_here)
    erased = task.options(num_cpus=0, max_retries=0, label_selector={NODE_ID: node}).remote(digests)
    try:
        await asyncio.wait_for(erased, NODE_SECONDS_MAX)
    except (RayError, TimeoutError) as error:
        ray.cancel(erased, force=True)
        reason = str(error).split("\n", 1)[0] or f"no answer for {NODE_SECONDS_MAX:g} s"
        raise EngineUnavailable(f"a node's memory cannot be erased now ({node[:12]}: {reason})") from error


logger = logging.getLogger(__name__)

PASSIVATION_SWEEP_SECONDS = 5.0
"""Time between two sweeps. Every twelfth also compacts, which is once a minute."""


class HostOptions(NamedTuple):
    """Everything a host needs to start, and to start again after a crash."""

    number: int
    hosts: int
    shards: int
    data_directory: str
    base: BaseInfo
    base_directory: str
    limits: HostLimits
    has_engine: bool
    master_key: str | None = None
    gateway: GatewayAddress | None = None
    community: str | None = None
    encoder_directory: str | None = None
    telemetry: TelemetryOptions | None = None
    journal: JournalOptions | None = None
    memory_module: str | None = None
    sweep_seconds: float = PASSIVATION_SWEEP_SECONDS
    home: Home | None = None


class StartedWith(NamedTuple):
    """The options of a running host, and the variables of its process."""

    options: HostOptions
    environment: dict[str, str]


def check_takeover(options: HostOptions) -> None:
    """Raise what would keep a host with these options from serving the store on this node, and own nothing.

    For another node than home; on that one its ``populace serve`` has looked after it. Raises as
    ``open_host`` does, ``JournalElsewhere``, and ``JournalDamaged`` for what the host would need of the
    journal.
    """
    own = own_settings(options.home)
    if own is None:
        return
    assert options.home is not None, "another node than it"
    own.data.mkdir(parents=True, exist_ok=True)
    with DirectoryLock(own.data, "populace node drain", is_shared=True):
        bucket = open_bucket(options.home.journal.url)
        store = join_store(
            bucket,
            own.data,
            store_id=options.home.store_id,
            shards=options.shards,
            master_key=own.master_key,
        )
        check_follows(bucket, store)
        numbers = shards_of(options.number, store.shards, options.hosts)
        # What it had last it mends from its own disk.
        needed = [number for number in numbers if not had_last(bucket, store, number)]
        for damage in damaged_shards(bucket, store, needed):
            raise damage


def on_this_node(options: HostOptions) -> HostOptions:
    """Return the options with the paths of the node that this process is on, for what describes them."""
    with contextlib.suppress(*SETTINGS_REFUSED):
        if (own := own_settings(options.home)) is not None:
            base = own_base(own, options.base.fingerprint)
            return options._replace(data_directory=str(own.data), base_directory=str(base))
    return options


def open_host(options: HostOptions) -> ModelHost:
    """Open the host's store: at home as it is, on another node from the journal. Raises as both do."""
    own = own_settings(options.home)
    if own is None:
        key = None if options.master_key is None else Path(options.master_key)
        encoder = None if options.encoder_directory is None else Path(options.encoder_directory)
        return _host_over(options, Store.open(Path(options.data_directory), master_key=key), encoder, None)
    assert options.home is not None, "another node than it"
    store_id, journal = options.home.store_id, options.home.journal
    own.data.mkdir(parents=True, exist_ok=True)
    lock = DirectoryLock(own.data, f"{host_name(options.number)} of the store {store_id}", is_shared=True)
    try:
        bucket = open_bucket(journal.url)
        store = join_store(
            bucket, own.data, store_id=store_id, shards=options.shards, master_key=own.master_key
        )
        logger.warning("%s goes on with the store %s in %s", host_name(options.number), store_id, own.data)
        encoder = None if options.encoder_directory is None else own_encoder(own)
        return _host_over(options._replace(journal=journal), store, encoder, lock)
    except BaseException:
        lock.release()
        raise


def _host_over(
    options: HostOptions, store: Store, encoder: Path | None, lock: DirectoryLock | None
) -> ModelHost:
    others = [number for number in range(options.hosts) if number != options.number]
    replicas = ReplicaEngine(options.base) if options.has_engine else None
    return ModelHost(
        host_name(options.number),
        store,
        shards_of(options.number, store.shards, options.hosts),
        base=options.base.fingerprint,
        clock=SystemClock(),
        engine=None if replicas is None else TracedEngine(replicas),
        # The trainer is on this machine too, and has the same packages.
        limits=replace(options.limits, rewards=reward_names()),
        community=options.community,
        encoder=None if encoder is None else EncoderOnUse(encoder),
        process_use=own_process_use,
        tracer=TRACER,
        used_elsewhere=OtherHosts(others).adapters_in_use if others else None,
        journal=options.journal,
        erase_from_nodes=None if replicas is None else NodeImages(replicas).erase,
        lock=lock,
    )


def shared_paths(options: HostOptions) -> SharedPaths:
    """Return where this node has the base and the memory module, for nodes that lack them."""
    module = None if options.memory_module is None else Path(options.memory_module)
    directory = options.base_directory
    with contextlib.suppress(*SETTINGS_REFUSED):
        if (own := own_settings(options.home)) is not None:
            directory = str(own_base(own, options.base.fingerprint))
            module = own_module(own, options.base)
    return SharedPaths(
        options.base.fingerprint, Path(directory) if directory else None, options.base.memory_module, module
    )
