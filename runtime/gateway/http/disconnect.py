"""Runs work that is useful only while its client is connected."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from populace.actors.errors import InvalidRequest
from populace.api.server import DISCONNECT_HEADER

T = TypeVar("T")


def cancels_on_disconnect(request: Request) -> bool:
    """Read the header. Raises ``InvalidRequest`` for a value other than ``cancel``."""
    told = request.headers.get(DISCONNECT_HEADER)
    if told not in (None, "cancel"):
        raise InvalidRequest(
            f"{DISCONNECT_HEADER} is `cancel`, or left out; not {told!r:.80}.", DISCONNECT_HEADER
        )
    return told is not None


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``; if the client disconnects first, cancel it, await its end, raise ``ClientDisconnect``.

    The request's body must have been read.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
