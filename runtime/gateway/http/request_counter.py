"""Counts responses by route and status; an unknown path counts as ``other``, to bound the series.

A request that another gateway passed on is counted there.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from populace.gateway.http.metrics import GatewayMetrics
from populace.gateway.http.route import route_of

FORWARDED = "populace.forwarded"
"""In the scope of a request that came from another gateway."""


class RequestCounter:
    """ASGI middleware that counts responses; the outermost of all."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or FORWARDED in scope:
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(route_of(scope) or "other", message["status"])
            await send(message)

        await self._app(scope, receive, counted)
