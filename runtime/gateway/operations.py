"""Health, readiness and metrics. They need no key and name no tenant or model."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.engine import EngineReport
from populace.actors.hosts import HostStatistics
from populace.api.server import HealthObject, ReadinessObject
from populace.gateway.http.context import Gateway, gateway_of
from populace.storage.records.errors import PopulaceError

router = APIRouter()

PROBE_SECONDS_MAX = 5.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEYLESS: dict[str, Any] = {"security": []}


@router.get("/healthz", response_model=HealthObject, openapi_extra=KEYLESS)
async def healthz() -> Response:
    """Return 200 while this process responds."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    response_model=ReadinessObject,
    openapi_extra=KEYLESS,
    responses={503: {"model": ReadinessObject, "description": "Hosts or engine do not respond."}},
)
async def readyz(request: Request) -> Response:
    """Return 200 if hosts and engine respond too; a 503 names the one that does not."""
    gateway = gateway_of(request)
    hosts, engine_answers = await asyncio.gather(_probe_hosts(gateway), _engine_answers(gateway))
    checks = {
        "hosts": "ok" if hosts else "unavailable",
        "engine": "ok" if engine_answers else "unavailable",
    }
    ready = all(state == "ok" for state in checks.values())
    return JSONResponse(
        {"status": "ready" if ready else "not_ready", **checks}, status_code=200 if ready else 503
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {METRICS_TYPE: {"schema": {"type": "string"}}}}},
    openapi_extra=KEYLESS,
)
async def metrics(request: Request) -> Response:
    gateway = gateway_of(request)
    hosts, engine = await asyncio.gather(_probe_hosts(gateway), _report_of_engine(gateway))
    body = gateway.metrics.render(hosts, engine)
    return Response(body, media_type=METRICS_TYPE)


async def _probe_hosts(gateway: Gateway) -> tuple[HostStatistics, ...]:
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            return await gateway.hosts.statistics()
    except (PopulaceError, TimeoutError):
        return ()


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
