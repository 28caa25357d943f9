"""Generates several replies to one prompt, side by side, for ``n`` of the OpenAI API.

Each is a separate request to the engine, with a copy of the memory state that all begin from, so none of them
sees what another writes.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from populace.actors.engine import Delta, Engine, GenerateRequest


def generate_choices(engine: Engine, request: GenerateRequest, count: int) -> AsyncGenerator[Delta, None]:
    """Generate ``count`` replies; each delta's ``choice`` says which it belongs to. The first error ends all.

    With a seed, every choice has a seed of its own, the first that of the request.
    """
    if count == 1:
        return engine.generate(request)
    return _side_by_side([engine.generate(_choice(request, number)) for number in range(count)])


def _choice(request: GenerateRequest, number: int) -> GenerateRequest:
    seed = request.sampling.seed
    return replace(
        request,
        request_id=f"{request.request_id}:{number}",
        sampling=replace(request.sampling, seed=None if seed is None else seed + number),
    )


async def _side_by_side(replies: Sequence[AsyncGenerator[Delta, None]]) -> AsyncGenerator[Delta, None]:
    """Yield the deltas of all replies as they come."""
    parts: asyncio.Queue[Delta | Exception | None] = asyncio.Queue()

    async def read(number: int, deltas: AsyncGenerator[Delta, None]) -> None:
        ending: Exception | None = None
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    parts.put_nowait(replace(delta, choice=number))
        except Exception as error:
            ending = error
        parts.put_nowait(ending)

    # Not a task group: it would cancel the task that reads this generator, and a stream is read by two.
    readers = [asyncio.create_task(read(number, deltas)) for number, deltas in enumerate(replies)]
    try:
        reading = len(readers)
        while reading:
            part = await parts.get()
            if isinstance(part, Exception):
                raise part
            if part is None:
                reading -= 1
            else:
                yield part
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
