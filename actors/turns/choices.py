"""Generates several replies to one prompt or several, side by side, for ``n`` of the OpenAI API.

Each is a separate request to the engine, with a copy of the memory state that all begin from, so none of them
sees what another writes.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from populace.actors.engine import Delta, Engine, GenerateRequest, Prompt

AT_ONCE = 16
"""Replies of one request that are at the engine at once: a long list must not fill the engine's queue."""


def generate_choices(
    engine: Engine, request: GenerateRequest, count: int, prompts: Sequence[Prompt] = ()
) -> AsyncGenerator[Delta, None]:
    """Generate ``count`` replies to the request's prompt, or to each of the ``prompts`` instead.

    Each delta's ``choice`` says which reply it belongs to: those to the first prompt come first. The first
    error ends all. With a seed, every choice has a seed of its own, the first that of the request.
    """
    requests = [replace(request, prompt=prompt) for prompt in prompts] or [request]
    if len(requests) * count == 1:
        return engine.generate(requests[0])
    asked = [(one, choice) for one in requests for choice in range(count)]
    return _side_by_side(
        [engine.generate(_choice(one, choice, number)) for number, (one, choice) in enumerate(asked)]
    )


def _choice(request: GenerateRequest, choice: int, number: int) -> GenerateRequest:
    seed = request.sampling.seed
    return replace(
        request,
        request_id=f"{request.request_id}:{number}",
        sampling=replace(request.sampling, seed=None if seed is None else seed + choice),
    )


async def _side_by_side(replies: Sequence[AsyncGenerator[Delta, None]]) -> AsyncGenerator[Delta, None]:
    """Yield the deltas of all replies as they come, or as the reader takes them."""
    parts: asyncio.Queue[Delta | Exception | None] = asyncio.Queue(AT_ONCE)
    places = asyncio.Semaphore(AT_ONCE)

    async def read(number: int, deltas: AsyncGenerator[Delta, None]) -> None:
        ending: Exception | None = None
        try:
            async with places, aclosing(deltas):
                async for delta in deltas:
                    await parts.put(replace(delta, choice=number))
        except Exception as error:
            ending = error
        await parts.put(ending)

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
