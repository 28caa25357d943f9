"""What a test reads of a stream."""

import asyncio

from populace.actors.engine import Delta
from populace.engines.channel import Item, Silence
from tests.limits import HANG_SECONDS


async def take(queue: "asyncio.Queue[Item]", count: int) -> list[Delta | Exception]:
    """Receive so many items, or fail. Silences do not count: a busy machine makes them."""
    received: list[Delta | Exception] = []
    async with asyncio.timeout(HANG_SECONDS):
        while len(received) < count:
            item = await queue.get()
            if not isinstance(item, Silence):
                received.append(item)
    return received


async def take_texts(queue: "asyncio.Queue[Item]", count: int) -> list[str]:
    """Receive the texts of so many deltas, or fail."""
    received = await take(queue, count)
    assert all(isinstance(item, Delta) for item in received), received
    return [item.text for item in received if isinstance(item, Delta)]
