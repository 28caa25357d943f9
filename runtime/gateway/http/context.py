"""The objects that every route of the gateway uses."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from populace.actors.aggregation.aggregator import Aggregator
from populace.actors.engine import Embedder, Engine, EngineReport
from populace.actors.hosts import Hosts
from populace.actors.hosts_report import HostsReport
from populace.actors.process_use import ProcessUse
from populace.gateway.http.access import Access
from populace.gateway.http.metrics import GatewayMetrics
from populace.telemetry.calls import belongs_to
from populace.telemetry.log_setup import digest_of


class EngineProbe(Protocol):
    """The engine's health and statistics, for operators. Both methods raise ``EngineUnavailable``."""

    async def check(self) -> None:
        """Return if at least one replica responds."""
        ...

    async def report(self) -> EngineReport: ...


class HostsProbe(Protocol):
    """The hosts' health and statistics, for operators."""

    async def report(self) -> HostsReport:
        """Return an answer of each host, without waiting long for one that has none."""
        ...


class TrainerProbe(Protocol):
    """The trainer's process, for operators."""

    async def use(self) -> ProcessUse | None:
        """Return what it takes; None without a trainer, or if it does not answer soon."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway process. ``turn_seconds_max`` bounds a turn, from its grant to its commit, and
    ``body_bytes_max`` what a body has, also once the items that it refers to are in it.

    Without an ``aggregator`` the population cannot be asked, without an ``embedder`` nothing be embedded.
    With ``recognises_tasks`` the prompts that front ends send by themselves are peeks. ``tools_auto`` is
    what a choice of tools comes to that is left to a base which cannot choose: see ``actors/tool_choice.py``.
    ``replicas`` is how many of the engine there should be.
    """

    hosts: Hosts
    engine: Engine
    probe_engine: EngineProbe
    probe_hosts: HostsProbe
    access: Access
    metrics: GatewayMetrics
    turn_seconds_max: float
    body_bytes_max: int
    aggregator: Aggregator | None = None
    recognises_tasks: bool = True
    embedder: Embedder | None = None
    tools_auto: str = "refuse"
    replicas: int = 1
    probe_trainer: TrainerProbe | None = None


def gateway_of(request: Request) -> Gateway:
    gateway = request.app.state.gateway
    assert isinstance(gateway, Gateway)
    return gateway


def aggregator_of(request: Request) -> Aggregator:
    aggregator = gateway_of(request).aggregator
    assert aggregator is not None, "its routes are there with it only"
    return aggregator


def embedder_of(request: Request) -> Embedder:
    embedder = gateway_of(request).embedder
    assert embedder is not None, "its route is there with it only"
    return embedder


class KeyedRoute(APIRoute):
    """A route that checks the API key first, so that no body is parsed for a caller without one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def keyed(request: Request) -> Response:
            tenant = await gateway_of(request).access.tenant(request)
            request.state.tenant = tenant
            belongs_to(digest_of(tenant))
            return await handle(request)

        return keyed


async def _caller(request: Request) -> str:  # not a plain function: FastAPI calls those in a thread
    tenant = request.state.tenant
    assert isinstance(tenant, str)
    return tenant


Caller = Annotated[str, Depends(_caller)]
"""The tenant of the request's API key, in routes of ``KeyedRoute``."""
