# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A Ray of several nodes, all on this machine."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from populace.hosting.messages import NAMESPACE
from populace.settings.environment import lent_environment
from tests.limits import HANG_SECONDS
from tests.notes import count_start


@contextmanager
def ray_nodes(
    labels: Sequence[Mapping[str, str]],
    *,
    config: Mapping[str, Any] | None = None,
    folders: Sequence[Path] | None = None,
    variables: Sequence[Mapping[str, str]] | None = None,
) -> Generator[list[int]]:
    """A Ray with a node for each of the labels; this process is on the first.

    Answers the processes of their raylets, which are the parents of all that run there. ``config`` has system
    settings of Ray. The processes of a node run in its folder and have its variables: a path below
    ``/proc/self/cwd`` leads elsewhere on each node, as if it were a machine of its own.
    """
    folders = folders or [Path.cwd()] * len(labels)
    parts: list[dict[str, Any]] = [
        {"num_cpus": 1, "labels": dict(label), "env_vars": dict(extra)}
        for label, extra in zip(labels, variables or [{}] * len(labels), strict=True)
    ]
    parts[0]["include_dashboard"] = False
    if config is not None:
        parts[0]["_system_config"] = dict(config)
    count_start("ray")
    cluster: Any = Cluster()
    try:
        nodes: list[Any] = []
        for part, folder in zip(parts, folders, strict=True):
            # Ray's own waits for a server and for a node give up after 30 s.
            with chdir(folder), lent_environment(RAY_gcs_server_port_wait_time_s=f"{HANG_SECONDS:.0f}"):
                nodes.append(cluster.add_node(wait=False, **part))
            cluster.wait_for_nodes(timeout=HANG_SECONDS)
        ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
        yield [node.all_processes["raylet"][0].process.pid for node in nodes]
    finally:
        ray.shutdown()
        cluster.shutdown()
