"""Refuses bodies that are too large before they are in memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from populace.actors.errors import RequestTooLarge
from populace.gateway.errors import error_response


class BodyLimit:
    """ASGI middleware: answers 413 as soon as the declared or received length passes the limit."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if _declared_bytes(headers.get(b"content-length", b"")) > self._bytes_max:
            await self._refuse(scope, receive, send)
            return
        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._bytes_max:
                raise RequestTooLarge(self._bytes_max)
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except RequestTooLarge:
            if started:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await error_response(RequestTooLarge(self._bytes_max))(scope, receive, send)


def _declared_bytes(content_length: bytes) -> float:
    """Read a Content-Length; one that is no number is for the server to refuse, and counts as 0."""
    if not content_length.isdigit():
        return 0
    # int() refuses thousands of digits; no such length is below any limit.
    return int(content_length) if len(content_length) < 20 else float("inf")
