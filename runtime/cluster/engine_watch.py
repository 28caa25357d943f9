"""Lets the number of replicas follow the machines of the cluster while a Populace runs."""

import logging
from collections.abc import Callable, Mapping

from populace.cluster.serve_applications import scale
from populace.engines.client import APPLICATION, DEPLOYMENT
from populace.engines.engine_nodes import EngineNodes, wanted_on

logger = logging.getLogger(__name__)


class EngineWatch:
    """The engine nodes, by what ``look`` saw last. ``report`` is told of each change."""

    def __init__(self, nodes: EngineNodes, report: Callable[[str], None]) -> None:
        self._nodes = nodes
        self._report = report
        self._known: Mapping[str, int] | None = None

    def look(self) -> None:
        """Give each engine node that has joined its replicas, and expect none of one that is gone.

        Without the latter Serve would wait for a place for the lost ones for ever.
        """
        used = self._nodes.used()
        if used == self._known:
            return
        scale(APPLICATION, DEPLOYMENT, wanted_on(used))
        if self._known is not None:
            logger.info("machines with engines: %d, replicas: %d", len(used), sum(used.values()))
            self._report(change_between(self._known, used))
        self._known = used


def change_between(known: Mapping[str, int], used: Mapping[str, int]) -> str:
    """Say what has changed, empty if nothing has."""
    if used == known:
        return ""
    if not used:
        return "The last machine with engines is gone: replies wait for one that joins"
    joined, gone = len(used.keys() - known.keys()), len(known.keys() - used.keys())
    what = [f"{joined} joined"] if joined else []
    what += [f"{gone} left or is lost"] if gone else []
    replicas = sum(used.values())
    return (
        f"Machines with engines: {', '.join(what) or 'another number of replicas'}; now {replicas} "
        f"{'replica' if replicas == 1 else 'replicas'} on {len(used)}"
    )
