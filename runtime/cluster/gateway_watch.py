# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Gives each machine that joins for it a gateway, while a Populace runs.

Each is an application of Serve's of its own: one that starts, or cannot, or is lost with its machine, is no
matter of the others'.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ray import serve

from populace.cluster.nodes import alive_nodes
from populace.cluster.serve_applications import begin, end
from populace.engines.engine_nodes import draining_nodes, has_labels
from populace.gateway.deployment import APPLICATION, GatewayOptions, gateway_application
from populace.hosting.gateway_nodes import GATEWAY_LABELS, JoinedGateway, write_joined_gateways
from populace.hosting.store_node import NODE_ID


class GatewayWatch:
    """The gateways on nodes that joined, by node, and what it takes to start one."""

    def __init__(
        self, options: GatewayOptions, environment: dict[str, str], report: Callable[[str], None]
    ) -> None:
        self._options = options
        self._environment = environment
        self._report = report
        self._running: dict[str, JoinedGateway] = {}
        write_joined_gateways(())

    def look(self) -> None:
        """Start a gateway on each node that has none yet, and end those of nodes that are gone."""
        nodes = gateway_machines(alive_nodes(), draining_nodes())
        for node in self._running.keys() - nodes.keys():
            gone = self._running.pop(node)
            write_joined_gateways(self._running.values())
            end(gone.application)
            self._report(f"The gateway {gone.number} at {gone.machine} has left or is lost")
        for node, machine in sorted(nodes.items()):
            if node not in self._running:
                self._start(node, machine)

    def _start(self, node: str, machine: str) -> None:
        taken = {gateway.number for gateway in self._running.values()}
        first = self._options.gateways
        number = next(one for one in range(first, first + len(taken) + 1) if one not in taken)
        joined = JoinedGateway(number, f"{APPLICATION}-{node[:12]}", node, machine)
        application: serve.Application = gateway_application(
            self._options._replace(joined=joined, home=None, metrics_push_seconds=None),
            environment=self._environment,
            nodes={NODE_ID: node},
        )
        begin(application, joined.application)
        self._running[node] = joined
        write_joined_gateways(self._running.values())
        self._report(f"The gateway {number} starts at {machine}")


def gateway_machines(nodes: list[dict[str, Any]], leaving: frozenset[str]) -> Mapping[str, str]:
    """Return the nodes that run a gateway of their own, with their addresses: those that stay, by id."""
    return {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in nodes
        if has_labels(node, GATEWAY_LABELS) and node["NodeID"] not in leaving
    }
