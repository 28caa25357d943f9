# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The nodes of a Ray cluster that run engine replicas, and what is known there of their start.

What a node says of its replicas is in the cluster's own key-value table, which a machine that joins can read
without being part of Ray.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray
from ray._private.worker import global_worker
from ray.experimental.internal_kv import (
    _internal_kv_put,  # pyright: ignore[reportUnknownVariableType]  # untyped
)

from populace.storage.records.errors import PopulaceError

ENGINE_LABELS = {"populace.engine": "true"}
"""The label of a node that runs engine replicas, as in ``ray start --labels populace.engine=true``."""

TABLE = b"populace"
"""Namespace of the cluster's key-value table."""
SERVES = b"serves"
"""What a node says once a part serves there."""


HEALTH_SECONDS = 1.0
"""How often Serve asks whether a part is well, and so finds that one is gone: nothing else tells it."""


class EngineNodes(NamedTuple):
    """Where replicas run: on nodes with these labels, ``replicas`` on each, with ``gpus`` GPUs each.

    ``share`` is what a replica has of its GPU if the trainer has the rest.
    """

    labels: Mapping[str, str]
    replicas: int = 1
    gpus: int = 0
    share: float = 1.0

    def places(self, node: Mapping[str, Any]) -> int:
        """How many replicas this node takes: none without the labels, and no more than its GPUs allow."""
        if not node["Alive"] or not has_labels(node, self.labels):
            return 0
        if self.gpus == 0:
            return self.replicas
        return min(self.replicas, int(gpus_of(node)) // self.gpus)

    def used(self) -> dict[str, int]:
        """Ask Ray which nodes run replicas now: their ids, and how many each. Blocks for the answer.

        A node that is being drained is none of them: it finishes what it has.
        """
        leaving = draining_nodes()
        nodes: Sequence[Mapping[str, Any]] = ray.nodes()
        places = {node["NodeID"]: self.places(node) for node in nodes if node["NodeID"] not in leaving}
        return {name: count for name, count in places.items() if count}

    def wanted(self) -> int:
        """How many replicas there should be now, one at least. Blocks for a question to Ray."""
        return wanted_on(self.used())


def wanted_on(used: Mapping[str, int]) -> int:
    """How many replicas these nodes run together; one that waits for a node if there is none."""
    return max(1, sum(used.values()))


def has_labels(node: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a node of ``ray.nodes()`` has all of the labels."""
    return node["Labels"].items() >= labels.items()


def gpus_of(node: Mapping[str, Any]) -> float:
    """Return how many GPUs a node of ``ray.nodes()`` has."""
    return node["Resources"].get("GPU", 0.0)


def draining_nodes() -> frozenset[str]:
    """Return the ids of the nodes that have been told to end."""
    worker: Any = global_worker
    return frozenset(worker.gcs_client.get_draining_nodes())


def start_key(node_id: str, part: str = "engine") -> bytes:
    """The key under which the table has what a node says of the start of its replicas, or another part."""
    return f"{part}-start:{node_id}".encode()


@contextmanager
def noted_start(part: str = "engine") -> Generator[None]:
    """Note in the cluster's table that a part serves on this node, or why it could not start there."""
    key = start_key(ray.get_runtime_context().get_node_id(), part)
    try:
        yield
    except Exception as error:
        told = str(error) if isinstance(error, PopulaceError) else repr(error)
        _internal_kv_put(key, told.encode(), namespace=TABLE)
        raise
    _internal_kv_put(key, SERVES, namespace=TABLE)
