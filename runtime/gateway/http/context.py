"""The objects that every route of the gateway uses."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute, APIRouter

from populace.actors.aggregation.aggregator import Aggregator
from populace.actors.api_keys import KeyHolder
from populace.actors.engine import Embedder, Engine, EngineReport
from populace.actors.hosts import Hosts
from populace.actors.hosts_report import HostsReport
from populace.actors.process_use import ProcessUse
from populace.api.errors import ErrorObject
from populace.gateway.http.access import Access
from populace.gateway.http.intake import Intake
from populace.gateway.http.limits import Limiter, serve_with
from populace.gateway.http.metrics import GatewayMetrics
from populace.gateway.http.needs import need_of
from populace.gateway.metrics.of_gateways import GatewaysReport
from populace.telemetry.calls import belongs_to
from populace.telemetry.log_setup import digest_of


class EngineProbe(Protocol):
    """The engine's health and statistics, for operators. Those that wait raise ``EngineUnavailable``."""

    async def check(self) -> None:
        """Return if at least one replica responds."""
        ...

    async def report(self) -> EngineReport: ...

    def routed(self) -> Mapping[str, int]:
        """Return how many requests this process sent to replicas, by why it chose the replica."""
        ...


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


class GatewaysProbe(Protocol):
    """All gateways of the population, for operators."""

    async def report(self, *, with_figures: bool) -> GatewaysReport:
        """Return what each gateway says of itself, without waiting long for one that does not."""
        ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway process. ``turn_seconds_max`` bounds a turn, from its grant to its commit, and
    ``body_bytes_max`` what a body has, also once the items that it refers to are in it.

    Without an ``aggregator`` the population cannot be asked, without an ``embedder`` nothing be embedded.
    With ``recognises_tasks`` the prompts that front ends send by themselves are peeks. A chat of a tenant in
    ``creating``, or of any tenant if it is None, creates the model that it names. ``tools_auto`` is
    what a choice of tools comes to that is left to a base which cannot choose: see ``actors/tool_choice.py``.
    ``replicas`` is how many of the engine there should be. Without ``probe_gateways`` this gateway is the
    only one.
    """

    hosts: Hosts
    engine: Engine
    probe_engine: EngineProbe
    probe_hosts: HostsProbe
    access: Access
    limiter: Limiter
    metrics: GatewayMetrics
    turn_seconds_max: float
    body_bytes_max: int
    aggregator: Aggregator | None = None
    recognises_tasks: bool = True
    embedder: Embedder | None = None
    tools_auto: str = "none"
    replicas: int = 1
    probe_trainer: TrainerProbe | None = None
    probe_gateways: GatewaysProbe | None = None
    creating: frozenset[str] | None = frozenset()
    intake: Intake = field(default_factory=Intake)


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
    """A route that checks the API key first, so that no body is parsed for a caller without one.

    What it needs of the key is declared at its endpoint, with ``needs``; there is none without that.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        need = need_of(self.endpoint)
        if need is None or need.role is None:
            raise TypeError(f"{self.path} does not say with @needs which role its callers need")
        self.openapi_extra = {**(self.openapi_extra or {}), "x-populace-role": need.role}

        async def keyed(request: Request) -> Response:
            caller = await gateway_of(request).access.caller(request)
            need.check(caller)
            request.state.caller = caller
            belongs_to(digest_of(caller.tenant))
            # Who looks after the service is not kept from raising a limit by it.
            allowance = None if need.role == "admin" else await gateway_of(request).limiter.begin(caller)
            serve_with(allowance)
            if allowance is None:
                return await handle(request)
            try:
                response = await handle(request)
            finally:
                allowance.end()
            response.headers.update(allowance.headers())
            return response

        return keyed


FAILED: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorObject, "description": "An error, as OpenAI's."}
}
"""How every route may fail, for its description."""


def keyed_router() -> APIRouter:
    """Make a router of routes that check the API key, and whose errors are described."""
    return APIRouter(route_class=KeyedRoute, responses=FAILED)


async def _caller(request: Request) -> KeyHolder:  # not a plain function: FastAPI calls those in a thread
    caller = request.state.caller
    assert isinstance(caller, KeyHolder)
    return caller


Caller = Annotated[KeyHolder, Depends(_caller)]
"""The holder of the request's API key, in routes of ``KeyedRoute``."""
