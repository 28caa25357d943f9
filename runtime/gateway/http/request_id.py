"""Gives each request an id that its client, its response and the log can name."""

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from populace.api.request_log import REQUEST_ID
from populace.gateway.http.route import route_of
from populace.telemetry.calls import Caller, serving

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "x-request-id"

_SANE = re.compile(REQUEST_ID.strip("^$"))


class RequestIds:
    """ASGI middleware: takes the client's ``X-Request-Id`` if it is sane, else makes one.

    The id is in the headers of every response, and in the body of every error.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if _SANE.fullmatch(given) else f"req_{secrets.token_hex(16)}"

        status = None

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        with serving(Caller(request_id)):
            began = time.monotonic()
            await self._app(scope, receive, named)
            route = route_of(scope) or "other"
            seconds = time.monotonic() - began
            logger.debug("%s %s was answered with %s in %.3f s", scope["method"], route, status, seconds)
