"""Records each request as a span, which joins its caller's trace or begins one."""

from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from populace.actors import span_names as names
from populace.gateway.http.route import route_of
from populace.telemetry.calls import belongs_to, current_caller
from populace.telemetry.traceparent import header_of, trace_of
from populace.telemetry.tracing.spans import TRACER, UNRECORDED, AnySpan

TRACEPARENT_HEADER = "traceparent"

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that are asked for every few seconds; they are no work for a person."""


METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
OTHER_METHOD = "_OTHER"
"""What the conventions call a method that a client has made up, which may be any word."""


_request_span: ContextVar[AnySpan] = ContextVar("populace_request_span", default=UNRECORDED)


def fail_request(code: str) -> None:
    """Mark the span of this task's request as failed, for a stream too whose status was sent before."""
    _request_span.get().fail(code)


class RequestSpans:
    """ASGI middleware: the whole of a request, until the last byte of its response, is a span.

    A ``traceparent`` of W3C's is joined, with its decision on sampling, if the request has a valid API key:
    others begin a trace of their own, as who has no key decides nothing about exports. That of the request's
    own span is in the response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not TRACER.is_on or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        # Neither the path, which has people's names, nor a header that a client fills as it likes.
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        attributes = {names.HTTP_METHOD: method, names.URL_SCHEME: scope["scheme"]}
        # Of several the specification says to take none.
        given = Headers(scope=scope).getlist(TRACEPARENT_HEADER)
        joined = trace_of(given[0]) if len(given) == 1 else None
        if joined is not None and not await scope["app"].state.gateway.access.admits(Request(scope)):
            joined = None
        with TRACER.root(method, attributes, kind="server", joined=joined) as span:

            async def traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set(names.HTTP_STATUS, status)
                    if status >= 500:
                        span.fail(str(status))
                    if span.trace is not None:
                        MutableHeaders(scope=message)[TRACEPARENT_HEADER] = header_of(span.trace)
                await send(message)

            token = _request_span.set(span)
            try:
                await self._app(scope, receive, traced)
            finally:
                _request_span.reset(token)
                tenant = current_caller().tenant
                span.set(names.TENANT, tenant)
                route = route_of(scope)
                if route is not None:
                    span.rename(f"{method} {route}")
                    span.set(names.HTTP_ROUTE, route)
        # The end of the span takes back what the task has learned within it, and the request is logged later.
        belongs_to(tenant)
