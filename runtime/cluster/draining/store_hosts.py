# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The store nodes of a Ray, and the hosts that each has."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ray
from ray._private.state import state

from populace.actors.draining import DrainRefused
from populace.cluster.drain_notes import drains
from populace.engines.engine_nodes import draining_nodes, has_labels
from populace.hosting.messages import HOST_PREFIX
from populace.hosting.store_node import STORE_LABELS

ID_CHARACTERS_MIN = 6


class StoreNode(NamedTuple):
    """A living store node, as people may call it, and the names of the hosts that it has."""

    id: str
    name: str
    host: str
    address: str
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.host}, {self.address})"

    def is_called(self, name: str) -> bool:
        """Return whether this is a name of it, its machine's name, its address, or how its id begins."""
        begins = len(name) >= ID_CHARACTERS_MIN and self.id.startswith(name)
        return begins or name in (self.name, self.host, self.address)


def store_nodes_found() -> list[StoreNode]:
    """List the living nodes that have hosts or the label, by name. Needs a connection to Ray."""
    hosts: dict[str, list[str]] = {}
    actors: Any = state.actor_table(None)
    for actor in actors.values():
        if actor["State"] != "DEAD" and actor["Name"].startswith(HOST_PREFIX):
            hosts.setdefault(actor["Address"]["NodeID"], []).append(actor["Name"])
    found = [
        StoreNode(
            node["NodeID"],
            node["NodeName"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            tuple(sorted(hosts.get(node["NodeID"], ()))),
        )
        for node in ray.nodes()
        if node["Alive"] and (has_labels(node, STORE_LABELS) or node["NodeID"] in hosts)
    ]
    return sorted(found, key=lambda node: node.name)


def node_called(name: str, nodes: Sequence[StoreNode]) -> StoreNode:
    """Find the store node that people call so. Raises ``DrainRefused`` for none, and for several."""
    for found in (
        [node for node in nodes if node.name == name],
        [node for node in nodes if node.is_called(name)],
    ):
        if len(found) == 1:
            return found[0]
    known = ", ".join(str(node) for node in nodes) or "none"
    problem = "several store nodes are called so, and one" if found else "no store node is called so, and one"
    raise DrainRefused(name, f"{problem} of these has to be named: {known}")


def next_node(leaving: StoreNode, nodes: Sequence[StoreNode], to: str | None = None) -> StoreNode:
    """Choose where the hosts of a node go on: on the one that is called ``to``, or where others are already.

    Raises ``DrainRefused`` if there is no other store node that stays, or none that is called so.
    """
    away = draining_nodes()
    others = [node for node in nodes if node.id not in {leaving.id, *away} and not drains(node.id)]
    if not others:
        raise DrainRefused(
            str(leaving),
            "there is no other store node to go on with them. Add one with `populace node join HOST:PORT "
            "--store`",
        )
    if to is not None:
        return node_called(to, others)
    return max(others, key=lambda node: (len(node.hosts), node.id))
