# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Erases adapters from the memory of all nodes that may have them.

A node's replica does it, which unloads them as well. A node without a replica may have images of one that was
killed there; it is asked by a task, if it has a label of ours.
"""

import asyncio
from typing import Any

import ray
from ray.exceptions import RayError

from populace.actors.errors import EngineUnavailable
from populace.engines.client import ReplicaEngine
from populace.hosting.store_node import NODE_ID
from populace.node_files.node import erase_here
from populace.node_files.ray_hosts import node_id

NODE_SECONDS_MAX = 60.0
"""How long a node may take to start the process of a task and erase what it has."""

_OUR_LABELS = "populace."


class NodeImages:
    """What nodes have of adapters in their memory, seen from a host."""

    def __init__(self, engine: ReplicaEngine) -> None:
        self._engine = engine

    async def erase(self, digests: frozenset[str]) -> None:
        """Erase adapters from every replica, and from the memory of every node that is alive.

        Raises ``EngineUnavailable`` if a replica or node does not do it now. One that is gone for good is
        asked no more once Serve and Ray know it, and has nothing but what is in its machine's memory.
        """
        await asyncio.to_thread(erase_here, digests)
        done = {node_id(), *await self._engine.erase(digests)}
        others = await asyncio.to_thread(_nodes_of_ours)
        await asyncio.gather(*(_erase_on(node, digests) for node in others - done))


def _nodes_of_ours() -> set[str]:
    nodes: list[dict[str, Any]] = ray.nodes()
    return {
        node["NodeID"]
        for node in nodes
        if node["Alive"] and any(label.startswith(_OUR_LABELS) for label in node["Labels"])
    }


async def _erase_on(node: str, digests: frozenset[str]) -> None:
    # Any: Ray's types know a remote function only where the decorator is written on it.
    task: Any = ray.remote(erase_here)
    erased = task.options(num_cpus=0, max_retries=0, label_selector={NODE_ID: node}).remote(digests)
    try:
        await asyncio.wait_for(erased, NODE_SECONDS_MAX)
    except (RayError, TimeoutError) as error:
        ray.cancel(erased, force=True)
        reason = str(error).split("\n", 1)[0] or f"no answer for {NODE_SECONDS_MAX:g} s"
        raise EngineUnavailable(f"a node's memory cannot be erased now ({node[:12]}: {reason})") from error
