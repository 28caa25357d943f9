"""Says on which node the hosts are, while a Populace runs."""

from collections.abc import Callable

from populace.cluster.node_parts import cluster_parts


class StoreWatch:
    """The nodes that have hosts, by what ``look`` saw last. ``report`` is told of each change."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._known: list[str] = []

    def look(self) -> None:
        """Ask Ray. Hosts that are nowhere for now are no change: they start again, here or elsewhere."""
        found = [f"{node.name} ({node.machine})" for node in cluster_parts().nodes if node.parts.get("host")]
        if found and self._known and found != self._known:
            self._report(f"The hosts are on {' and '.join(found)} now")
        self._known = found or self._known
