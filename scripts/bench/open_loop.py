"""An open loop: requests arrive by a schedule, whatever the engine's backlog, while adapters are replaced."""

import asyncio
import time
from typing import NamedTuple

from scripts.bench.engine_process import Served, served
from scripts.bench.engine_sides import BenchEngine, EngineRequest


class Arrival(NamedTuple):
    """A request to a model, sent ``at_s`` seconds after the start of the round."""

    at_s: float
    model: int
    prompt: tuple[int, ...]


class Publication(NamedTuple):
    """A model gets a new adapter, ``at_s`` seconds after the start of the round."""

    at_s: float
    model: int
    adapter: int


class Schedule(NamedTuple):
    """The requests and publications of a round. ``adapters[i]`` is the adapter that model i begins with.

    With ``is_two_phase`` a new adapter is prewarmed first, and the old one serves until that is done.
    """

    adapters: tuple[int, ...]
    arrivals: tuple[Arrival, ...]
    publications: tuple[Publication, ...]
    reply_tokens: int
    is_two_phase: bool


class Answered(NamedTuple):
    """A request's reply and its adapter; ``is_first`` marks the first request to that adapter."""

    model: int
    adapter: int
    is_first: bool
    served: Served


class OpenRound(NamedTuple):
    """The replies, and the seconds from each publication until its adapter serves."""

    answered: tuple[Answered, ...]
    until_ready: tuple[float, ...]


async def play_open(engine: BenchEngine, schedule: Schedule) -> OpenRound:
    """Run a round; return when all replies have ended."""
    return await _OpenLoop(engine, schedule).play()


class _OpenLoop:
    def __init__(self, engine: BenchEngine, schedule: Schedule) -> None:
        self._engine = engine
        self._schedule = schedule
        self._adapters = list(schedule.adapters)
        self._asked = set(schedule.adapters)
        self._began = time.perf_counter()

    async def play(self) -> OpenRound:
        schedule = self._schedule
        answered, ready = await asyncio.gather(
            asyncio.gather(*(self._answer(arrival) for arrival in schedule.arrivals)),
            asyncio.gather(*(self._publish(publication) for publication in schedule.publications)),
        )
        return OpenRound(tuple(answered), tuple(ready))

    async def _answer(self, arrival: Arrival) -> Answered:
        await self._wait(arrival.at_s)
        adapter = self._adapters[arrival.model]
        is_first = adapter not in self._asked
        self._asked.add(adapter)
        reply = await served(
            self._engine, EngineRequest(adapter, arrival.prompt, self._schedule.reply_tokens)
        )
        return Answered(arrival.model, adapter, is_first, reply)

    async def _publish(self, publication: Publication) -> float:
        await self._wait(publication.at_s)
        if self._schedule.is_two_phase:
            await self._engine.prepare(publication.adapter, self._adapters[publication.model])
        self._adapters[publication.model] = publication.adapter
        return self._now() - publication.at_s

    async def _wait(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self._now()))

    def _now(self) -> float:
        return time.perf_counter() - self._began
