# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A second node takes nothing that needs the store of the first."""

from pathlib import Path

import psutil
import pytest
import ray

from populace.cluster.nodes import store_nodes
from populace.hosting.host_actor import start_hosts
from populace.hosting.store_node import STORE_LABELS
from populace.storage.store import Store
from tests.actors.populations import SHARDS, host_options
from tests.actors.ray_nodes import ray_nodes

pytestmark = pytest.mark.ray

HOSTS = 4


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(({}, {}), 0, marks=pytest.mark.release("cluster")),
        (({}, STORE_LABELS), 1),
    ],
)
def test_hosts_start_where_the_store_is(
    tmp_path: Path, labels: tuple[dict[str, str], ...], expected: int
) -> None:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    with ray_nodes(labels) as raylets:
        options = [host_options(store, number, HOSTS) for number in range(HOSTS)]
        handles = start_hosts(options, environment={"OMP_NUM_THREADS": "1"}, nodes=store_nodes())
        processes: list[int] = ray.get([handle.process_id.remote() for handle in handles])
        places = {psutil.Process(process).ppid() for process in processes}
        ray.get([handle.close.remote() for handle in handles])

    assert places == {raylets[expected]}
