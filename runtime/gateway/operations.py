"""Health, readiness and metrics. They need no key and name no tenant or model."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.engine import EngineReport
from populace.actors.hosts_report import HostsReport
from populace.actors.process_use import ProcessUse
from populace.api.server import HealthObject, ReadinessObject
from populace.gateway.http.context import FAILED, Gateway, gateway_of
from populace.gateway.http.needs import keyless
from populace.gateway.metrics.of_gateways import GatewaysReport
from populace.gateway.metrics.reported import Reports
from populace.storage.records.errors import PopulaceError

router = APIRouter(responses=FAILED)
metrics_router = APIRouter(responses=FAILED)
"""The metrics, which may have a listener of their own."""

PROBE_SECONDS_MAX = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEYLESS: dict[str, Any] = {"security": []}


# Load balancers and monitors may ask with HEAD.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=HealthObject, openapi_extra=KEYLESS)
@keyless
async def healthz() -> Response:
    """Return 200 while this process responds."""
    return JSONResponse({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=ReadinessObject,
    openapi_extra=KEYLESS,
    responses={503: {"model": ReadinessObject, "description": "No host or no engine responds, or it stops."}},
)
@keyless
async def readyz(request: Request) -> Response:
    """Return 200 with an engine and at least one host that serves a shard, unless this gateway is to end.

    A host that is away takes its own people with it only, so a load balancer must not turn the others away.
    """
    gateway = gateway_of(request)
    hosts, engine_answers, engine, gateways = await asyncio.gather(
        gateway.probe_hosts.report(),
        _engine_answers(gateway),
        _report_of_engine(gateway),
        _report_of_gateways(gateway, with_figures=False),
    )
    degraded = {answer.host: answer.lack for answer in hosts.answers if answer.lack is not None}
    state = _state_of(hosts, degraded)
    missing = [] if engine is None else _missing_replicas(engine, gateway.replicas)
    degraded |= {f"engine replica {number}": "does not answer" for number in missing} | gateways.lacking
    status: Literal["ready", "not_ready", "draining"]
    status = "ready" if engine_answers and state != "unavailable" else "not_ready"
    if gateway.intake.is_closed:
        status = "draining"
    found = ReadinessObject(
        status=status,
        hosts=state,
        engine="unavailable" if not engine_answers else "degraded" if missing else "ok",
        degraded=degraded,
        unserved_share=hosts.unserved_share if engine_answers else 1.0,
        gateways={str(answer.number): answer.address for answer in gateways.answers},
    )
    return JSONResponse(found.model_dump(), status_code=200 if status == "ready" else 503)


@metrics_router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {METRICS_TYPE: {"schema": {"type": "string"}}}}},
    openapi_extra=KEYLESS,
)
@keyless
async def metrics(request: Request) -> Response:
    gateway = gateway_of(request)
    return Response(gateway.metrics.render(await reports_of(gateway)), media_type=METRICS_TYPE)


async def reports_of(gateway: Gateway) -> Reports:
    """Ask all other processes for their figures, each for as long as it may take."""
    hosts, engine, gateways, trainer = await asyncio.gather(
        gateway.probe_hosts.report(),
        _report_of_engine(gateway),
        _report_of_gateways(gateway, with_figures=True),
        _use_of_trainer(gateway),
    )
    return Reports(hosts, engine, gateways, trainer)


def _missing_replicas(engine: EngineReport, configured: int) -> list[int]:
    wanted = configured if engine.wanted is None else engine.wanted
    return sorted(set(range(wanted)) - set(engine.replicas))


def _state_of(hosts: HostsReport, degraded: Mapping[str, str]) -> Literal["ok", "degraded", "unavailable"]:
    if hosts.unserved_share >= 1 or all(answer.statistics is None for answer in hosts.answers):
        return "unavailable"
    return "degraded" if degraded else "ok"


async def _engine_answers(gateway: Gateway) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            await gateway.probe_engine.check()
    except (PopulaceError, TimeoutError):
        return False
    return True


async def _report_of_engine(gateway: Gateway) -> EngineReport | None:
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            return await gateway.probe_engine.report()
    except (PopulaceError, TimeoutError):
        return None


async def _report_of_gateways(gateway: Gateway, *, with_figures: bool) -> GatewaysReport:
    if gateway.probe_gateways is not None:
        return await gateway.probe_gateways.report(with_figures=with_figures)
    alone = gateway.metrics.own(0, "", gateway.probe_engine.routed())
    return GatewaysReport((alone,), {})


async def _use_of_trainer(gateway: Gateway) -> ProcessUse | None:
    return None if gateway.probe_trainer is None else await gateway.probe_trainer.use()
