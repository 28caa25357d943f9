"""Limits on the time that a reply may take."""

import asyncio
import logging
from collections.abc import AsyncGenerator

from populace.actors.engine import Delta
from populace.storage.records.errors import PopulaceError

logger = logging.getLogger(__name__)


async def until(
    deltas: AsyncGenerator[Delta, None], deadline: float, late: PopulaceError
) -> AsyncGenerator[Delta, None]:
    """Pass deltas on and close them in the end; raise ``late`` once the event loop's time is ``deadline``.

    Then they are closed also while the reader is busy with an earlier one: what a reader that has stopped
    reading takes of an engine is free again, and it learns of the deadline if it reads on.

    The timeout encloses each wait separately: around a ``yield`` it would cancel the task that began to
    read, and a stream is read by two.
    """
    unread = _Unread(deltas, late)
    timer = asyncio.get_running_loop().call_at(deadline, unread.close)
    try:
        while unread.closing is None:
            unread.is_awaited = True
            try:
                async with asyncio.timeout_at(deadline):
                    delta = await anext(deltas)
            except TimeoutError:
                raise late from None
            except StopAsyncIteration:
                return
            unread.is_awaited = False
            yield delta
        raise late
    finally:
        timer.cancel()
        await (unread.closing or deltas.aclose())


class _Unread:
    """Closes deltas that no one awaits; ``closing`` does it then."""

    def __init__(self, deltas: AsyncGenerator[Delta, None], late: PopulaceError) -> None:
        self._deltas = deltas
        self._late = late
        self.is_awaited = False
        self.closing: asyncio.Task[None] | None = None

    def close(self) -> None:
        if not self.is_awaited:
            logger.warning("a reply whose reader did not read on was ended: %s", self._late)
            self.closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        await self._deltas.aclose()
