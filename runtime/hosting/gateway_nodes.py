"""The gateways on other machines than the one with the store, as the cluster's own table has them.

The process that serves writes the table when such a machine joins or leaves, and every gateway reads it.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from ray.experimental.internal_kv import (
    _internal_kv_get,  # pyright: ignore[reportUnknownVariableType]  # untyped
    _internal_kv_put,  # pyright: ignore[reportUnknownVariableType]  # untyped
)

from populace.engines.engine_nodes import TABLE

GATEWAY_LABELS = {"populace.gateway": "true"}
"""The label of a node that runs a gateway, as in ``ray start --labels populace.gateway=true``."""

KEY = b"gateways"


class JoinedGateway(NamedTuple):
    """A gateway on a node of its own: its number, its application of Serve, the node, the node's address."""

    number: int
    application: str
    node: str
    machine: str


def write_joined_gateways(gateways: Iterable[JoinedGateway]) -> None:
    """Write the table. Needs a connection to Ray."""
    _internal_kv_put(KEY, json.dumps([gateway._asdict() for gateway in gateways]).encode(), namespace=TABLE)


def joined_gateways() -> list[JoinedGateway]:
    """Read the table; blocks for the answer of Ray's head. Raises ``RuntimeError`` while that is away."""
    found = _internal_kv_get(KEY, namespace=TABLE)
    return [JoinedGateway(**gateway) for gateway in json.loads(found)] if found else []
