# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A Ray of several machines, all on this one: a head without a store, and store nodes that may be lost.

Each store node has a data directory of its own, which its raylet's variables name, and the bucket of the
journal is a directory beside them. Hosts have no engine.
"""

import logging
import shutil
import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from populace.actors.engine import BaseInfo
from populace.hosting.directory.directory import Directory
from populace.hosting.host_actor import start_hosts
from populace.hosting.host_client import RayHostClient
from populace.hosting.host_options import HostOptions
from populace.hosting.messages import NAMESPACE, host_name
from populace.hosting.store_node import STORE_LABELS, Home
from populace.settings.environment import CLUSTER_RAY_ENVIRONMENT, lent_environment, quiet_environment
from populace.settings.settings import DAY_SECONDS
from populace.settings.signals import kept_sigterm
from populace.storage.journal.description import describe
from populace.storage.journal.opening import open_bucket
from populace.storage.journal.options import JournalOptions
from populace.storage.records.master_key import MASTER_KEY_FILE
from populace.storage.store import Store
from scripts.bench.engineless import engineless_host


class StoreMachines:
    """The machines, by name, and the store that they serve in turns. Needs no engine."""

    def __init__(self, root: Path, cluster: Any, *, shards: int, is_sync: bool) -> None:
        """Use ``store_machines``."""
        self._root = root
        self._cluster = cluster
        self._nodes: dict[str, Any] = {}
        (root / "bucket").mkdir()
        self.store = Store.create_or_open(root / "head", shards)
        self.key = self.store.path / MASTER_KEY_FILE
        self.journal = JournalOptions(f"file://{root}/bucket", is_sync, DAY_SECONDS)
        describe(open_bucket(self.journal.url), self.store)
        self._hosts = 0

    def data(self, name: str) -> Path:
        """Return the data directory of a machine, existing or not."""
        return self._root / name

    def add(self, name: str, *, has_key: bool = True) -> None:
        """Start a store node, with the data directory that the machine of this name had before, if any."""
        data = self.data(name)
        data.mkdir(exist_ok=True)
        if has_key:
            shutil.copy(self.key, data / MASTER_KEY_FILE)
        with kept_sigterm():
            self._nodes[name] = self._cluster.add_node(
                num_cpus=1,
                labels=STORE_LABELS,
                env_vars={"POPULACE_DATA": str(data), "POPULACE_CACHE": str(self._root / "cache")},
            )

    def node_id(self, name: str) -> str:
        return str(self._nodes[name].node_id)

    def raylet(self, name: str) -> psutil.Process:
        """Return the process that is the parent of all that runs on a machine."""
        return psutil.Process(self._nodes[name].all_processes["raylet"][0].process.pid)

    def lose(self, name: str) -> None:
        """Kill the raylet of a machine and all that runs there. Its data directory stays."""
        raylet = self.raylet(name)
        family = [raylet, *raylet.children(recursive=True)]
        for process in family:
            if process.is_running():
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family[1:], timeout=10)
        del self._nodes[name]

    def home(self) -> Home:
        """Return the node of this process, whose paths all parts get."""
        return Home(ray.get_runtime_context().get_node_id(), self.store.store_id, self.journal)

    def start_hosts(self, hosts: int, base: BaseInfo, *, preferred: str) -> None:
        """Start hosts on the machine ``preferred``, and on any other once that is lost."""
        self._hosts = hosts
        start_bench_hosts(
            self.store, self.journal, hosts, base, home=self.home(), preferred=self.node_id(preferred)
        )

    @property
    def handles(self) -> list[Any]:
        """Find the hosts, which may have been handed over to others of their names."""
        return [ray.get_actor(host_name(number), namespace=NAMESPACE) for number in range(self._hosts)]

    def host_process(self, number: int) -> psutil.Process:
        """Return the current process of a host."""
        return psutil.Process(ray.get(self.handles[number].process_id.remote()))

    def directory(self) -> Directory:
        """Return a new client of the hosts, for one event loop."""
        clients = [RayHostClient(handle, host_name(number)) for number, handle in enumerate(self.handles)]
        return Directory.over(clients, shard_count=self.store.shards)


def start_bench_hosts(
    store: Store, journal: JournalOptions, hosts: int, base: BaseInfo, *, home: Home, preferred: str
) -> list[Any]:
    """Start hosts without an engine on the node ``preferred``, or on another one with the label of stores."""
    options = bench_hosts(store, journal, hosts, base, home=home)
    return start_hosts(options, environment=bench_environment(), nodes=STORE_LABELS, preferred=preferred)


def bench_hosts(
    store: Store, journal: JournalOptions, hosts: int, base: BaseInfo, *, home: Home
) -> list[HostOptions]:
    """Return the options of hosts without an engine."""
    return [
        engineless_host(store, base, number=number, hosts=hosts)._replace(journal=journal, home=home)
        for number in range(hosts)
    ]


def bench_environment() -> dict[str, str]:
    """Return the variables of their processes."""
    return quiet_environment() | {"OMP_NUM_THREADS": "1"}


@contextmanager
def store_machines(root: Path, *, shards: int, is_sync: bool = True) -> Generator[StoreMachines]:
    """Start a head, which this process is on and which is no store node; stop all machines at the end."""
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 128 * 2**20}
    # Tuned as the Ray that ``populace serve`` starts: how soon a node is taken for lost, and niceness.
    with lent_environment(**CLUSTER_RAY_ENVIRONMENT), ExitStack() as stack:
        with kept_sigterm():
            cluster: Any = Cluster(initialize_head=True, head_node_args=head)
            stack.callback(cluster.shutdown)
            ray.init(
                address=cluster.address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
            )
            stack.callback(ray.shutdown)
        yield StoreMachines(root, cluster, shards=shards, is_sync=is_sync)
