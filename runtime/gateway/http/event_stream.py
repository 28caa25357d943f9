"""A server-sent event response that closes its source when the client disconnects."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from populace.actors.turns.running_reply import RunningReply

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStream(StreamingResponse):
    """Streams ``events``, which reads ``source``; however the response ends, both are closed first.

    Starlette leaves a half-read generator to the garbage collector, and with it the engine's slot.
    Closing ``events`` alone is not enough: if the client disconnects before the first event, the
    generator never began, and closing that runs none of its code.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        source: RunningReply | AsyncGenerator[Any, None],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(events, headers={**HEADERS, **headers})
        self._events = events
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source), aclosing(self._events):
            await super().__call__(scope, receive, send)
