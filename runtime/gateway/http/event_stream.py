"""A server-sent event response that closes its source when the client disconnects."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from populace.actors.turns.running_reply import RunningReply
from populace.api.errors import ErrorObject
from populace.api.objects import ApiObject, examples_of

MEDIA_TYPE = "text/event-stream"
REFERENCE = "#/components/schemas/"
STREAM_END = "[DONE]"
"""The data of the event that ends a completion's stream."""

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStream(StreamingResponse):
    """Streams ``events``, which reads ``source``; however the response ends, both are closed first.

    Starlette leaves a half-read generator to the garbage collector, and with it the engine's slot.
    Closing ``events`` alone is not enough: if the client disconnects before the first event, the
    generator never began, and closing that runs none of its code.
    """

    media_type = MEDIA_TYPE

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


def completion_events(event: type[ApiObject]) -> dict[str, Any]:
    """Describe a stream of such objects for ``/openapi.json``. One that fails ends with an error."""
    shown = [json.dumps(body) for body in examples_of(event)]
    return _events(
        {"anyOf": [_data(event, ErrorObject), {"const": STREAM_END}]},
        "".join(f"data: {data}\n\n" for data in [*shown, STREAM_END]),
    )


def named_events(event: type[ApiObject]) -> dict[str, Any]:
    """Describe a stream of such objects, whose events are named by the objects' ``type``."""
    bodies = examples_of(event)
    return _events(
        _data(event), "".join(f"event: {body['type']}\ndata: {json.dumps(body)}\n\n" for body in bodies)
    )


def _data(*objects: type[ApiObject]) -> dict[str, Any]:
    schemas = [{"$ref": f"{REFERENCE}{one.__name__}"} for one in objects]
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": schemas}}


def _events(data: dict[str, Any], shown: str) -> dict[str, Any]:
    # `itemSchema` is OpenAPI 3.2's; FastAPI writes it as well.
    properties = {"event": {"type": "string"}, "data": data}
    event = {"type": "object", "required": ["data"], "properties": properties}
    return {MEDIA_TYPE: {"itemSchema": event, "example": shown}}
