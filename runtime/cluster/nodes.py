# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Which nodes of a Ray cluster run the parts of a Populace: those that have its store.

Hosts, trainer and gateway read the data directory, and replicas find adapters, base and memory module by
their paths. Ray would place them on any node, where they start and do not work.
"""

from typing import Any

import ray

STORE_LABELS = {"populace.store": "true"}
"""The label of a node that has the data directory, as in ``ray start --labels populace.store=true``."""

_NODE_ID = "ray.io/node-id"


def store_nodes() -> dict[str, str]:
    """Return the labels of the nodes that have the store: the label for it, or else this process's own node.

    This process has opened the data directory, so that its node has it. Needs a connection to Ray.
    """
    nodes: list[dict[str, Any]] = ray.nodes()
    if any(node["Alive"] and node["Labels"].items() >= STORE_LABELS.items() for node in nodes):
        return dict(STORE_LABELS)
    return {_NODE_ID: ray.get_runtime_context().get_node_id()}
