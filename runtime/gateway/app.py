"""The gateway as an ASGI application."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from populace.actors.engine import Engine
from populace.actors.errors import InvalidRequest, RequestTooLarge
from populace.actors.hosts import Hosts
from populace.gateway import completions, operations, personal_models
from populace.gateway.access import Access
from populace.gateway.body_limit import BodyLimit
from populace.gateway.context import Gateway
from populace.gateway.errors import error_body, error_response
from populace.gateway.metrics import GatewayMetrics
from populace.gateway.request_counter import RequestCounter
from populace.storage.errors import PopulaceError

logger = logging.getLogger(__name__)


def create_app(
    hosts: Hosts, engine: Engine, *, turn_seconds_max: float = 120.0, body_bytes_max: int = 8 * 1024 * 1024
) -> FastAPI:
    """Build the application over any ``Hosts`` and ``Engine``, in one process or across Ray."""
    app = FastAPI(title="Populace", docs_url="/docs", redoc_url=None)
    metrics = GatewayMetrics()
    app.state.gateway = Gateway(hosts, engine, Access(hosts), metrics, turn_seconds_max)
    for module in (completions, personal_models, operations):
        app.include_router(module.router)
    app.add_exception_handler(PopulaceError, _populace_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected_error)
    app.add_middleware(BodyLimit, bytes_max=body_bytes_max)
    app.add_middleware(RequestCounter, metrics=metrics)
    return app


async def _populace_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, PopulaceError)
    return error_response(error)


async def _validation_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    message, parameter = describe_problem(error.errors()[0])
    return error_response(InvalidRequest(message, parameter))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, RequestTooLarge):
        return error_response(error.__cause__)
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    message = {
        404: f"There is no route {request.method} {request.url.path}.",
        405: f"{request.method} is not allowed on {request.url.path}.",
        400: "The body could not be read: it must be JSON in UTF-8.",
    }.get(error.status_code, str(error.detail))
    body = error_body(message, status=error.status_code, code=code)
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def _unexpected_error(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    message = "Populace failed unexpectedly. The log has the details; please report it."
    return JSONResponse(error_body(message, status=500, code="internal_error"), status_code=500)


def describe_problem(problem: Any) -> tuple[str, str | None]:
    """Turn pydantic's first problem into a sentence and the name of the parameter it is about."""
    location = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    kind, message = problem["type"], problem["msg"]
    # Branches of a union show up in the location; the name that the caller wrote is before them.
    named = [part for part in location if not part.startswith(("function-", "list[", "constrained-"))]
    parameter = ".".join(named) or None
    if kind == "json_invalid":
        detail = problem.get("ctx", {}).get("error", message)
        return f"The body is not valid JSON: {detail}.", None
    if kind == "extra_forbidden":
        return f"Unknown parameter: `{parameter}`.", parameter
    if kind == "missing":
        return f"Missing required parameter: `{parameter}`.", parameter
    if parameter is None:
        return f"The body must be a JSON object: {message}.", None
    return f"Invalid value for `{parameter}`: {message}.", parameter
