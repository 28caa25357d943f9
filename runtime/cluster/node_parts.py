# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Lists the nodes of a cluster with the parts of a Populace that run on each."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from ray._private.state import state

from populace.cluster.nodes import alive_nodes
from populace.engines import client
from populace.engines.engine_nodes import ENGINE_LABELS, draining_nodes, has_labels
from populace.gateway import deployment
from populace.hosting.gateway_nodes import GATEWAY_LABELS
from populace.hosting.messages import HOST_PREFIX
from populace.hosting.store_node import STORE_LABELS
from populace.trainer.actor import TRAINER

LABELS = {"store": STORE_LABELS, "engine": ENGINE_LABELS, "gateway": GATEWAY_LABELS}
HEAD = "node:__internal_head__"
"""The resource of Ray's head."""
SERVE_REPLICA = "SERVE_REPLICA::"
"""How the names of Serve's replicas begin: then come application, deployment and id, with a ``#`` between."""


class NodeParts(NamedTuple):
    """A living node: how people call it, what may run there by its labels, and how many of what runs."""

    name: str
    machine: str
    address: str
    id: str
    labels: tuple[str, ...]
    parts: Mapping[str, int]
    is_head: bool
    is_leaving: bool


class ClusterParts(NamedTuple):
    """All living nodes by name, and the parts that run nowhere yet, or not again yet."""

    nodes: list[NodeParts]
    starting: Mapping[str, int]


def cluster_parts() -> ClusterParts:
    """Ask Ray which parts run on which node. Needs a connection to Ray."""
    running: dict[str, Counter[str]] = {}
    starting = Counter[str]()
    actors: Any = state.actor_table(None)
    for actor in actors.values():
        part = part_called(actor["Name"])
        if part is None or actor["State"] == "DEAD":
            continue
        if actor["State"] == "ALIVE":
            running.setdefault(actor["Address"]["NodeID"], Counter())[part] += 1
        else:
            starting[part] += 1
    leaving = draining_nodes()
    nodes = [
        NodeParts(
            node["NodeName"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            node["NodeID"],
            tuple(name for name, labels in LABELS.items() if has_labels(node, labels)),
            running.get(node["NodeID"], Counter()),
            HEAD in node["Resources"],
            node["NodeID"] in leaving,
        )
        for node in alive_nodes()
    ]
    return ClusterParts(sorted(nodes), starting)


def part_called(actor: str) -> str | None:
    """Which part an actor is by its name: host, trainer, gateway or replica; None for one of others."""
    if actor.startswith(HOST_PREFIX):
        return "host"
    if actor == TRAINER:
        return "trainer"
    application, _, _ = actor.removeprefix(SERVE_REPLICA).partition("#")
    if actor.startswith(SERVE_REPLICA):
        if application == client.APPLICATION:
            return "replica"
        # Those on machines that joined have applications of their own.
        if application.startswith(deployment.APPLICATION):
            return "gateway"
    return None
