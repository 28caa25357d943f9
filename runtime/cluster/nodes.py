# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""Chooses the nodes of a Ray cluster that run the parts of a Populace.

Hosts, trainer and gateway read the data directory: they run on nodes that have the store. Engine replicas run
on nodes that are labelled for them, and on those of the store if none is. Ray would place them on any node,
where they start and do not work.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from populace.actors.engine import EngineKind
from populace.engines.engine_nodes import ENGINE_LABELS, EngineNodes, gpus_of, has_labels
from populace.hosting.store_node import NODE_ID, STORE_LABELS
from populace.settings.device_settings import EngineDevice


def store_nodes(other: str | None = None) -> dict[str, str]:
    """Return the labels of the nodes that have the store: the label for it, or else this process's own node.

    ``other`` is the id of the node that has it, if it is another one. Needs a connection to Ray.
    """
    if other is not None or labelled_stores():
        return dict(STORE_LABELS)
    return {NODE_ID: ray.get_runtime_context().get_node_id()}


def preferred_store_node(other: str | None = None) -> str | None:
    """Return the id of the store node that has all parts as long as it lives, None if no node has the label.

    It is ``other``, or else this process's own if it is one. Parts on several would each have a part of the
    adapters on their disks, and fetch the others from the journal. Needs a connection to Ray.
    """
    own = ray.get_runtime_context().get_node_id()
    found = [str(node["NodeID"]) for node in labelled_stores()]
    return other or (own if own in found else min(found, default=None))


def engine_nodes(
    nodes: Sequence[Mapping[str, Any]],
    engine: EngineKind,
    device: EngineDevice,
    *,
    replicas: int,
    store_labels: Mapping[str, str],
    spread: int = 1,
) -> EngineNodes:
    """Decide where replicas run: on the nodes that are labelled for it, or else on those of the store.

    On GPUs each takes ``spread`` of them.
    Replicas are of one kind: if vLLM may use GPUs and a node of these has one, all of them get one, and nodes
    without run none.
    """
    is_labelled = any(has_labels(node, ENGINE_LABELS) for node in nodes)
    chosen = EngineNodes(ENGINE_LABELS if is_labelled else store_labels, replicas)
    if engine != "vllm" or device == "cpu":
        return chosen
    has_gpus = any(gpus_of(node) >= 1 for node in nodes if has_labels(node, chosen.labels))
    return chosen._replace(gpus=spread) if has_gpus or device == "gpu" else chosen


def alive_nodes() -> list[dict[str, Any]]:
    """Ask Ray for the nodes that are there, as ``ray.nodes()`` describes them."""
    nodes: list[dict[str, Any]] = ray.nodes()
    return [node for node in nodes if node["Alive"]]


def labelled_stores() -> list[dict[str, Any]]:
    """List the living nodes with the label of the store, as ``ray.nodes()`` describes them."""
    return [node for node in alive_nodes() if has_labels(node, STORE_LABELS)]
