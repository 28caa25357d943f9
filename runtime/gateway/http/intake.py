"""Counts the requests that a gateway is at work on, and refuses new ones while it drains."""

from starlette.types import ASGIApp, Receive, Scope, Send

from populace.actors.draining import Draining
from populace.gateway.http.errors import error_response
from populace.gateway.http.request_counter import FORWARDED
from populace.gateway.http.request_spans import PROBES

READING = ("GET", "HEAD", "OPTIONS")


class Intake:
    """The requests of one gateway that are under way, until the last byte of their responses."""

    def __init__(self) -> None:
        self.running = 0
        """Those that began while it was open."""
        self.is_closed = False

    def close(self) -> None:
        """Take nothing new from here on. What runs goes on; what changes nothing is answered as before."""
        self.is_closed = True


class Admission:
    """ASGI middleware: counts what runs, and refuses what would begin once the ``intake`` is closed.

    A request that another gateway passes on was let in there.
    """

    def __init__(self, app: ASGIApp, intake: Intake) -> None:
        self._app = app
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif not self._intake.is_closed:
            self._intake.running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._intake.running -= 1
        elif scope["method"] in READING or FORWARDED in scope:
            await self._app(scope, receive, send)
        else:
            await error_response(Draining())(scope, receive, send)
