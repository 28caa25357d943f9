# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A Ray of several nodes, all on this machine."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster

from populace.hosting.messages import NAMESPACE


@contextmanager
def ray_nodes(
    labels: Sequence[Mapping[str, str]], *, config: Mapping[str, Any] | None = None
) -> Generator[list[int]]:
    """A Ray with a node for each of the labels; this process is on the first.

    Answers the processes of their raylets, which are the parents of all that run there. ``config`` has system
    settings of Ray.
    """
    head = {"num_cpus": 1, "include_dashboard": False, "labels": dict(labels[0])}
    if config is not None:
        head["_system_config"] = dict(config)
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.head_node, *(cluster.add_node(num_cpus=1, labels=dict(one)) for one in labels[1:])]
        ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
        yield [node.all_processes["raylet"][0].process.pid for node in nodes]
    finally:
        ray.shutdown()
        cluster.shutdown()
