"""Limits on the time that a reply may take."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from populace.actors.engine import Delta
from populace.storage.records.errors import PopulaceError


async def until(
    deltas: AsyncGenerator[Delta, None], deadline: float, late: PopulaceError
) -> AsyncGenerator[Delta, None]:
    """Pass deltas on and close them in the end; raise ``late`` once the event loop's time is ``deadline``.

    The timeout encloses each wait separately: around a ``yield`` it would cancel the task that began to
    read, and a stream is read by two.
    """
    async with aclosing(deltas):
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    delta = await anext(deltas)
            except TimeoutError:
                raise late from None
            except StopAsyncIteration:
                return
            yield delta
