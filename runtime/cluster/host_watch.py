"""Starts hosts that are nowhere, while a Populace runs.

Ray starts a host again that ends by itself or with its node. One that was ended to begin on another node,
by a drain that was killed before it began there, is no actor of Ray's any more.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from populace.cluster.drain_notes import drains
from populace.cluster.former_parts import former_names
from populace.cluster.node_parts import NodeParts, cluster_parts
from populace.hosting.host_actor import begin_hosts
from populace.hosting.host_options import HostOptions
from populace.hosting.messages import host_name
from populace.hosting.store_node import STORE_LABELS

NOWHERE_SECONDS = 10.0
MOVING_SECONDS_MAX = 60.0
"""The same while a drain runs, which starts what it has ended: it may hang. A drain that goes on later finds
the host here under its name, and moves it again."""


class HostStart(NamedTuple):
    """What the hosts of a Populace are started with, and the labels of their nodes.

    They are on the node ``preferred`` unless others are on another one.
    """

    options: list[HostOptions]
    environment: dict[str, str]
    nodes: dict[str, str]
    preferred: str | None


class HostWatch:
    """The hosts that are nowhere, by what ``look`` saw last. ``report`` is told of each that it starts."""

    def __init__(self, start: HostStart, report: Callable[[str], None]) -> None:
        self._start = start
        self._report = report
        self._nowhere_since_s: dict[str, float] = {}

    def look(self) -> None:
        """Start each host that has been no actor of Ray's for a while, on a store node that stays."""
        there = set(former_names())
        for option in self._start.options:
            name = host_name(option.number)
            if name in there:
                self._nowhere_since_s.pop(name, None)
                continue
            since_s = self._nowhere_since_s.setdefault(name, time.monotonic())
            if time.monotonic() - since_s >= (MOVING_SECONDS_MAX if drains() else NOWHERE_SECONDS):
                self._begin(option)

    def _begin(self, option: HostOptions) -> None:
        nodes, preferred, where = self._start.nodes, None, "the store's node"
        if nodes == STORE_LABELS:
            node = chosen_node(cluster_parts().nodes, self._start.preferred)
            if node is None:
                return  # one may join
            preferred, where = node.id, f"{node.name} ({node.machine})"
        begin_hosts([option], environment=self._start.environment, nodes=nodes, preferred=preferred)
        self._report(f"{host_name(option.number)} was nowhere, and starts on {where}")


def chosen_node(nodes: Sequence[NodeParts], preferred: str | None) -> NodeParts | None:
    """Choose where a host starts: where others are, or else on ``preferred``; None if no store node stays."""
    staying = [node for node in nodes if "store" in node.labels and not node.is_leaving]
    staying = [node for node in staying if not drains(node.id)]
    return max(
        staying, key=lambda node: (node.parts.get("host", 0), node.id == preferred, node.id), default=None
    )
