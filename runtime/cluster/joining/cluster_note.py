# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The note that a cluster leaves for machines that are to join it, and how they read it.

It is read with a client of Ray's own table, so that a machine can be refused before it starts anything.
"""

import json
import platform
import re
import socket
from importlib.metadata import version
from typing import Any, NamedTuple

from ray._raylet import GcsClient  # type: ignore[attr-defined]  # a compiled module
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # pyright: ignore[reportAttributeAccessIssue]  # generated
from ray.exceptions import AuthenticationError, RayError
from ray.experimental.internal_kv import (
    _internal_kv_put,  # pyright: ignore[reportUnknownVariableType]  # untyped
)

from populace.actors.errors import ClusterNotFound, StartFailed
from populace.engines.engine_nodes import ENGINE_LABELS, TABLE, start_key

KEY = b"cluster"
PLACE = re.compile(r"(?P<host>[^\s:/]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")
"""``HOST:PORT``."""
ANSWER_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 3.0


class ClusterNote(NamedTuple):
    """What a machine needs to know before it joins. ``run`` differs from start to start of a head.

    ``gpus`` is how many each engine replica takes. ``store`` is the id of the store that is served, and
    ``journal`` the URL of the bucket from which other store nodes take it; both are empty without a journal.
    """

    run: str
    populace: str
    ray: str
    python: str
    engine: str
    gpus: int
    base: str
    fingerprint: str
    base_directory: str
    store: str = ""
    journal: str = ""


class NodeSeen(NamedTuple):
    """A living node as the cluster sees it: its id, its GPUs, its labels."""

    id: str
    gpus: float
    labels: dict[str, str]


def own_versions() -> dict[str, str]:
    """Return the versions that all machines of a cluster have to share; Ray itself wants the whole Python."""
    return {"populace": version("populace"), "ray": version("ray"), "python": platform.python_version()}


def publish(note: ClusterNote) -> None:
    """Write the note. Needs a connection to Ray."""
    _internal_kv_put(KEY, json.dumps(note._asdict()).encode(), namespace=TABLE)


def answers(address: str) -> bool:
    """Return whether a program listens at ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS_MAX).close()
    except OSError:
        return False
    return True


def read_note(address: str) -> ClusterNote | None:
    """Read the note of the cluster at ``HOST:PORT``; None if there is none yet.

    Raises ``ClusterNotFound`` if no Ray is there, and ``StartFailed`` if it asks for another token.
    """
    value = _ask(address, "internal_kv_get", KEY, TABLE)
    return None if value is None else parse_note(value)


def parse_note(value: bytes) -> ClusterNote:
    """Parse a note, also one of another version, whose fields may differ: it is refused by its version."""
    content = json.loads(value)
    return ClusterNote(**{name: content.get(name, "") for name in ClusterNote._fields})


def start_noted(address: str, node_id: str, part: str = "engine") -> str | None:
    """Return what the last part that started on a node said of its start; None before one did."""
    value = _ask(address, "internal_kv_get", start_key(node_id, part), TABLE)
    return None if value is None else value.decode()


def find_node(address: str, name: str) -> NodeSeen | None:
    """Find a living node by its name."""
    for node_id, node in _ask(address, "get_all_node_info").items():
        if node.node_name == name and node.state == GcsNodeInfo.GcsNodeState.ALIVE:
            return NodeSeen(node_id.hex(), node.resources_total.get("GPU", 0.0), dict(node.labels))
    return None


def engine_node_names(address: str) -> list[str]:
    """List the living nodes that are labelled for engines, by their machines and names."""
    nodes = _ask(address, "get_all_node_info").values()
    return sorted(
        f"{node.node_manager_hostname} ({node.node_name})"
        for node in nodes
        if node.state == GcsNodeInfo.GcsNodeState.ALIVE and dict(node.labels).items() >= ENGINE_LABELS.items()
    )


def refusal(address: str, reason: str) -> StartFailed:
    """Say why this machine cannot be a node of the cluster at an address."""
    return StartFailed(f"This machine's node of the cluster at {address}", reason)


def _ask(address: str, question: str, *given: object) -> Any:
    if not answers(address):
        raise ClusterNotFound(
            address,
            "Nothing listens there: start `populace serve --cluster-port PORT` on that machine first.",
        )
    try:
        # Made anew for each question: one that is kept ends this process when the cluster is away for long.
        return getattr(GcsClient(address=address), question)(*given, timeout=ANSWER_SECONDS_MAX)
    except AuthenticationError:
        raise refusal(address, "that cluster's token is another one than this machine's") from None
    except RayError as error:
        told = str(error).split("\n", 1)[0]
        raise ClusterNotFound(address, f"Ray does not answer there: {told}") from error
