"""The gateway as an ASGI application."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from populace.actors.aggregation.aggregator import Aggregator
from populace.actors.engine import Embedder, Engine
from populace.actors.errors import InvalidRequest, RequestTooLarge
from populace.actors.hosts import Hosts
from populace.api.completions import (
    ChatChunkObject,
    ChatCompletionObject,
    TextChunkObject,
    TextCompletionObject,
)
from populace.api.responses import ResponseEventObject
from populace.gateway import operations, request_logs
from populace.gateway.admin import keys as admin_keys
from populace.gateway.admin import tenants as admin_tenants
from populace.gateway.completions import embeddings, population
from populace.gateway.completions import routes as completions
from populace.gateway.console import routes as console
from populace.gateway.fine_tuning import files
from populace.gateway.fine_tuning import jobs as fine_tuning
from populace.gateway.fine_tuning.upload_service import UploadService
from populace.gateway.forwarding import Forwarder, Forwarding
from populace.gateway.http.access import Access
from populace.gateway.http.body_limit import BodyLimit
from populace.gateway.http.context import EngineProbe, Gateway, GatewaysProbe, HostsProbe, TrainerProbe
from populace.gateway.http.errors import (
    RATE_LIMIT_HEADERS,
    TOKEN_LIMIT_HEADERS,
    error_body,
    error_response,
    status_of,
)
from populace.gateway.http.intake import Admission
from populace.gateway.http.last_resort import LastResort
from populace.gateway.http.limits import Limiter
from populace.gateway.http.metrics import GatewayMetrics
from populace.gateway.http.problems import describe_problem
from populace.gateway.http.request_counter import RequestCounter
from populace.gateway.http.request_id import REQUEST_ID_HEADER, RequestIds
from populace.gateway.http.request_spans import TRACEPARENT_HEADER, RequestSpans
from populace.gateway.metrics.of_processes import ServedFacts
from populace.gateway.personal_models import (
    aliases,
    archives,
    contributions,
    feedback,
    forgetting,
    memories,
    merges,
    revisions,
    suites,
    training,
)
from populace.gateway.personal_models import routes as personal_models
from populace.gateway.personal_models.adapter_service import AdapterService
from populace.gateway.personal_models.archive_service import ArchiveService
from populace.gateway.responses import conversations
from populace.gateway.responses import routes as responses
from populace.storage.records.errors import PopulaceError

OBJECTS = (ChatCompletionObject, ChatChunkObject, TextCompletionObject, TextChunkObject, ResponseEventObject)
"""The objects that only streams have, and those whose examples have a null, which FastAPI leaves out."""


class DescribedApp(FastAPI):
    """An application that describes its streams, and which routes take the id of what another one made.

    Every route needs a key unless its own description says otherwise.
    """

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is not None:
            return self.openapi_schema
        described = super().openapi()
        _, told = models_json_schema(
            [(model, "serialization") for model in OBJECTS], ref_template="#/components/schemas/{model}"
        )
        components = described["components"]
        components["schemas"] |= told["$defs"]
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
        _add_links(described["paths"])
        return described


def _add_links(paths: dict[str, dict[str, Any]]) -> None:
    """Link what makes an object to all routes below it that need its id alone."""
    for path, methods in paths.items():
        if "{" in path or "post" not in methods:
            continue
        below = re.compile(rf"{re.escape(path)}/\{{(\w+)\}}[^{{]*")
        links = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {found[1]: "$response.body#/id"},
            }
            for other, operations in paths.items()
            if (found := below.fullmatch(other))
            for operation in operations.values()
        }
        for status, response in methods["post"]["responses"].items():
            if links and status.startswith("2"):
                response["links"] = links


logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""Status of a response whose client had disconnected, as in nginx; only the metrics ever see it."""

EXPOSED_HEADERS = (
    REQUEST_ID_HEADER,
    TRACEPARENT_HEADER,
    "retry-after",
    *RATE_LIMIT_HEADERS,
    *TOKEN_LIMIT_HEADERS,
    *(f"x-populace-{name}" for name in ("revision", "base", "log-position", "memory-version", "peek")),
)
"""What a page may read of a response from another origin, besides its body."""


def create_app(
    hosts: Hosts,
    engine: Engine,
    *,
    probe_engine: EngineProbe,
    probe_hosts: HostsProbe,
    turn_seconds_max: float = 120.0,
    body_bytes_max: int = 8 * 1024 * 1024,
    cluster_key: str | None = None,
    archive_service: ArchiveService | None = None,
    adapter_service: AdapterService | None = None,
    aggregator: Aggregator | None = None,
    recognises_tasks: bool = True,
    cors_origins: Sequence[str] = (),
    embedder: Embedder | None = None,
    tools_auto: str = "none",
    creating: frozenset[str] | None = frozenset(),
    upload_service: UploadService | None = None,
    vllm_names: bool = False,
    replicas: int = 1,
    probe_trainer: TrainerProbe | None = None,
    probe_gateways: GatewaysProbe | None = None,
    has_metrics: bool = True,
    logs_directory: Path | None = None,
    traces_directory: Path | None = None,
    forwarder: Forwarder | None = None,
) -> FastAPI:
    """Build the application over any ``Hosts`` and ``Engine``, in one process or across Ray.

    Limits on tokens are kept if the engine is a ``MeteredEngine``, and that of the aggregator.

    ``cluster_key`` is that of ``Access``. The services need the store's files; without them models cannot be
    exported or imported, adapters published, merged or compared, nor files uploaded. Without ``aggregator``
    the population as a whole cannot be asked. ``recognises_tasks``, ``tools_auto`` and ``creating`` are
    those of ``Gateway``. ``replicas`` and ``vllm_names`` are those of ``ServedFacts``. Without
    ``has_metrics`` these are not among the routes: ``metrics_app`` has them. ``logs_directory`` is where
    this machine's processes log; without it requests cannot be looked up. ``traces_directory`` is where they
    write their traces, if it is to files. With ``forwarder``, and without the services and the logs, another
    gateway answers the requests that need them.
    """
    app = DescribedApp(
        title="Populace",
        # The documentation pages load scripts from a CDN; /openapi.json needs none.
        docs_url=None,
        redoc_url=None,
        # A redirect would be built from the caller's Host header, and clients drop the key on it.
        redirect_slashes=False,
    )
    metrics = GatewayMetrics(ServedFacts(engine.base, replicas, vllm_names))
    app.state.gateway = Gateway(
        hosts,
        engine,
        probe_engine,
        probe_hosts,
        Access(hosts, cluster_key=cluster_key),
        Limiter(hosts),
        metrics,
        turn_seconds_max,
        body_bytes_max,
        aggregator,
        recognises_tasks,
        embedder,
        tools_auto,
        replicas,
        probe_trainer,
        probe_gateways,
        creating,
    )
    longer: dict[str, int] = {}
    modules: list[Any] = [
        completions,
        responses,
        conversations,
        personal_models,
        aliases,
        memories,
        feedback,
        forgetting,
    ]
    modules += [training, suites, contributions, admin_keys, admin_tenants, operations, console]
    if archive_service is not None:
        app.state.archive_service = archive_service
        modules.append(archives)
        longer[archives.IMPORT_PATH] = archive_service.bytes_max
    if adapter_service is not None:
        app.state.adapter_service = adapter_service
        modules += [revisions, merges]
        longer[revisions.REVISIONS_PATH] = adapter_service.bytes_max
    if aggregator is not None:
        modules.append(population)
    if embedder is not None:
        modules.append(embeddings)
    if upload_service is not None:
        app.state.upload_service = upload_service
        modules += [files, fine_tuning]
        longer[files.FILES_PATH] = upload_service.bytes_max + files.FORM_BYTES_MAX
    if logs_directory is not None:
        app.state.request_logs = request_logs.RequestLogs(logs_directory, traces_directory)
        modules.append(request_logs)
    passed_on = [archives, revisions, merges, files, fine_tuning, request_logs]
    if forwarder is not None:
        modules += passed_on
        longer[archives.IMPORT_PATH] = longer[revisions.REVISIONS_PATH] = forwarder.archive_bytes_max
        longer[files.FILES_PATH] = forwarder.file_bytes_max + files.FORM_BYTES_MAX
    # The routes themselves, which are made once: including a router would make each of them anew.
    for module in modules:
        app.router.routes.extend(module.router.routes)
    if has_metrics:
        app.router.routes.extend(operations.metrics_router.routes)
    app.add_exception_handler(PopulaceError, _populace_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_left)
    if forwarder is not None:
        endpoints = [route.endpoint for module in passed_on for route in module.router.routes]
        app.add_middleware(Forwarding, described=app, endpoints=endpoints, forwarder=forwarder)
    app.add_middleware(BodyLimit, bytes_max=body_bytes_max, longer=longer)
    app.add_middleware(LastResort)
    app.add_middleware(Admission, intake=app.state.gateway.intake)
    if cors_origins:
        # No credentials: a key is a header that a page's own program sends, and never a cookie.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(RequestSpans)
    app.add_middleware(RequestIds)
    app.add_middleware(RequestCounter, metrics=metrics)
    return app


def metrics_app(app: FastAPI) -> FastAPI:
    """Build the application that has the metrics of another one, and no other route."""
    private = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    private.state.gateway = app.state.gateway
    private.router.routes.extend(operations.metrics_router.routes)
    return private


async def _populace_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, PopulaceError)
    if status_of(type(error)) >= 500:
        logger.warning("a request was refused: %s", error)
    return error_response(error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    message, parameter = describe_problem(error.errors()[0], request.headers.get("content-type"))
    return error_response(InvalidRequest(message, parameter))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, RequestTooLarge):
        return error_response(error.__cause__)
    path = request.scope["path"]
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # Starlette names the methods of the first route of this path alone.
        headers["Allow"] = ", ".join(_methods_of(request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    message = {
        404: f"There is no route {request.method} {path}.",
        405: f"{request.method} is not allowed on {path}.",
        400: "The body could not be read: it must be JSON in UTF-8, not nested too deeply.",
    }.get(error.status_code, str(error.detail))
    body = error_body(message, status=error.status_code, code=code)
    return JSONResponse(body, status_code=error.status_code, headers=headers)


def _methods_of(request: Request) -> list[str]:
    matching = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    # A path that is written out is that route's, although it may also be read as one with a name.
    fewest = min(len(route.param_convertors) for route in matching)
    routes = [route for route in matching if len(route.param_convertors) == fewest]
    return sorted({"OPTIONS", *(method for route in routes for method in route.methods)})


async def _client_left(request: Request, error: Exception) -> Response:
    del request, error
    return Response(status_code=CLIENT_CLOSED_REQUEST)
