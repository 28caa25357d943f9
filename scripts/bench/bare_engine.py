"""The load of ``populace bench serve`` on an engine in the same process, without a server."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from populace.actors.engine import AdapterRef, Engine, GenerateRequest, MemoryUse, Message, Sampling
from populace.actors.response_schema import schema_text
from scripts.bench.load import SCHEMA, Load, Sample, messages_of


class Person(NamedTuple):
    """What a stream's replies are made with; by default the base alone."""

    adapter: AdapterRef | None = None
    memory: MemoryUse | None = None


async def run_bare(
    engine: Engine, people: Sequence[Person], load: Load, *, round_number: int
) -> tuple[list[Sample], float]:
    """Run the load; stream i is of ``people[i % len(people)]``. Return samples and wall seconds."""
    started = time.perf_counter()
    streams = (
        _stream(engine, people[index % len(people)], load, index, round_number)
        for index in range(load.streams)
    )
    samples = [sample for stream in await asyncio.gather(*streams) for sample in stream]
    return samples, time.perf_counter() - started


async def _stream(engine: Engine, person: Person, load: Load, index: int, round_number: int) -> list[Sample]:
    samples: list[Sample] = []
    for request in range(load.requests):
        messages = messages_of(load, index, request, round_number)
        generate = GenerateRequest(
            request_id=f"{round_number}-{load.title}-{index}-{request}",
            prompt=tuple(Message(message["role"], message["content"]) for message in messages),
            sampling=Sampling(
                max_tokens=load.reply_tokens,
                temperature=0.0,
                ignore_eos=not load.structured,
                response_schema=schema_text(SCHEMA) if load.structured else None,
            ),
            adapter=person.adapter,
            memory=person.memory,
        )
        samples.append(await _ask(engine, generate))
    return samples


async def _ask(engine: Engine, request: GenerateRequest) -> Sample:
    started = time.perf_counter()
    first: float | None = None
    tokens = 0
    async for delta in engine.generate(request):
        tokens += len(delta.token_ids)
        if first is None and delta.text:
            first = time.perf_counter()
    return Sample((first or time.perf_counter()) - started, time.perf_counter() - started, tokens)
