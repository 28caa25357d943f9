"""What every route of the gateway works with."""

from dataclasses import dataclass

from fastapi import Request

from populace.actors.engine import Engine
from populace.actors.hosts import Hosts
from populace.gateway.access import Access
from populace.gateway.metrics import GatewayMetrics


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway process. ``turn_seconds_max`` bounds a turn, from its grant to its commit."""

    hosts: Hosts
    engine: Engine
    access: Access
    metrics: GatewayMetrics
    turn_seconds_max: float


def gateway_of(request: Request) -> Gateway:
    gateway = request.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway
