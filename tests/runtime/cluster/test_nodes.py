# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A second node takes nothing that needs the store of the first."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from populace.cluster.nodes import STORE_LABELS, store_nodes
from populace.hosting.host_actor import start_hosts
from populace.hosting.messages import NAMESPACE
from populace.storage.store import Store
from tests.actors.populations import SHARDS, host_options

pytestmark = pytest.mark.ray

HOSTS = 4


@contextmanager
def cluster_of(*labels: dict[str, str]) -> Generator[list[str]]:
    """A Ray with a node for each of the labels; this process is on the first. Answers their ids."""
    cluster: Any = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "labels": labels[0]},
    )
    try:
        others = [cluster.add_node(num_cpus=1, labels=one) for one in labels[1:]]
        ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
        yield [cluster.head_node.node_id, *(node.node_id for node in others)]
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize(("labels", "expected"), [(({}, {}), 0), (({}, STORE_LABELS), 1)])
def test_hosts_start_where_the_store_is(
    tmp_path: Path, labels: tuple[dict[str, str], ...], expected: int
) -> None:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    with cluster_of(*labels) as node_ids:
        options = [host_options(store, number, HOSTS) for number in range(HOSTS)]
        handles = start_hosts(options, environment={"OMP_NUM_THREADS": "1"}, nodes=store_nodes())
        places = set[str](ray.get([handle.node_id.remote() for handle in handles]))
        ray.get([handle.close.remote() for handle in handles])

    assert places == {node_ids[expected]}
