"""Refuses bodies that are too large before they are in memory."""

from collections.abc import Mapping

from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from populace.actors.errors import RequestTooLarge
from populace.gateway.http.errors import error_response


class BodyLimit:
    """ASGI middleware: responds with 413 as soon as the declared or received length exceeds the limit.

    ``longer`` maps a route's path to a limit of its own, for bodies that are written to a file.
    """

    def __init__(self, app: ASGIApp, bytes_max: int, longer: Mapping[str, int]) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._longer = [(compile_path(path)[0], limit) for path, limit in longer.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bytes_max = self._limit_of(scope["path"])
        headers = dict(scope["headers"])
        if _declared_bytes(headers.get(b"content-length", b"")) > bytes_max:
            await _refuse(bytes_max, scope, receive, send)
            return
        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > bytes_max:
                raise RequestTooLarge(bytes_max)
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
            await _refuse(bytes_max, scope, receive, send)

    def _limit_of(self, path: str) -> int:
        found = (limit for pattern, limit in self._longer if pattern.match(path))
        return next(found, self._bytes_max)


async def _refuse(bytes_max: int, scope: Scope, receive: Receive, send: Send) -> None:
    await error_response(RequestTooLarge(bytes_max))(scope, receive, send)


def _declared_bytes(content_length: bytes) -> float:
    """Parse a Content-Length; one that is no number counts as 0, and the server refuses it later."""
    if not content_length.isdigit():
        return 0
    # int() refuses thousands of digits; no such length is below any limit.
    return int(content_length) if len(content_length) < 20 else float("inf")
