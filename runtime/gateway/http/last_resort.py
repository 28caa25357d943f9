"""Handles unforeseen errors, so that a bug costs one request and reveals no internals."""

import logging

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from populace.gateway.http.errors import internal_error_body
from populace.gateway.http.route import route_of

logger = logging.getLogger(__name__)


class LastResort:
    """ASGI middleware: an unexpected error is logged once and the response is a 500.

    If the response has begun already, the error goes on to the server, which cuts the connection:
    half a response must not look whole. Starlette's own catch-all sits outside of all middleware,
    where nothing counts its responses, and raises the error again after it responded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if started or scope["type"] != "http":
                raise
            route = route_of(scope) or "a path without a route"
            logger.exception("%s %s failed", scope["method"], route)
            await JSONResponse(internal_error_body(), status_code=500)(scope, receive, send)
