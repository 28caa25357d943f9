# pyright: reportUnknownMemberType=false
# Ray's API is partly untyped.
"""The two runtimes that serve ``Hosts``: two hosts in this process, and two Ray actors."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from populace.actors.clock import Clock
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.cluster.own_ray import start_ray
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.hosting.host_actor import start_hosts
from populace.hosting.host_client import RayHostClient
from populace.hosting.host_options import HostOptions
from populace.hosting.messages import NAMESPACE, host_name
from populace.policies.placement import shards_of
from populace.settings.environment import quiet_environment
from populace.storage.store import Store
from scripts.bench.engineless import engineless_host
from tests.actors.fakes import BASE
from tests.notes import count_start

HOSTS = 2
COMMUNITY = "everybody"
SHARDS = 4
LIMITS = HostLimits(mailbox_max=3)
OBJECT_STORE_BYTES = 256 * 2**20
"""Two archives of 64 MiB beside each other, so that none is written to a disk that may be full."""

IN_ONE_PROCESS = pytest.mark.parametrize("hosts", ["local"], indirect=True)
"""For a test of ``hosts`` whose verbs, and the errors that they raise, others ask of hosts on Ray too."""


def local_hosts(store: Store, clock: Clock) -> list[ModelHost]:
    return [
        ModelHost(
            host_name(number),
            store,
            shards_of(number, store.shards, HOSTS),
            base=BASE.fingerprint,
            clock=clock,
            limits=LIMITS,
        )
        for number in range(HOSTS)
    ]


def local_directory(hosts: list[ModelHost], store: Store) -> Directory:
    return Directory.over([LocalHostClient(host) for host in hosts], shard_count=store.shards)


def host_options(store: Store, number: int = 0, hosts: int = 1, limits: HostLimits = LIMITS) -> HostOptions:
    options = engineless_host(store, BASE, number=number, hosts=hosts, limits=limits)
    return options._replace(community=COMMUNITY)


def ray_directory(handles: list[Any], store: Store) -> Directory:
    """A directory of its own for each event loop."""
    clients = [RayHostClient(handle, host_name(number)) for number, handle in enumerate(handles)]
    return Directory.over(clients, shard_count=store.shards)


@contextmanager
def ray_running() -> Generator[None]:
    """A Ray of our own. Not for the whole session: other folders start Populace, and with it Ray."""
    count_start("ray")
    start_ray(
        namespace=NAMESPACE,
        include_dashboard=False,
        num_cpus=2,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def ray_hosts(path: Path, hosts: int = HOSTS) -> Generator[tuple[Store, list[Any]]]:
    """Host actors over a new store."""
    store = Store.create_or_open(path, SHARDS)
    options = [host_options(store, number, hosts) for number in range(hosts)]
    handles = start_hosts(options, environment=quiet_environment() | {"OMP_NUM_THREADS": "1"})
    try:
        yield store, handles
    finally:
        ray.get([handle.close.remote() for handle in handles])
        for handle in handles:
            ray.kill(handle)
