"""Requests that arrive when they arrive, however far the engine is, while models get new adapters."""

import asyncio
import time
from typing import NamedTuple

from populace.bench.engine_process import Served, served
from populace.bench.engine_sides import Ask, Player


class Arrival(NamedTuple):
    """A request to a model, so many seconds after the beginning."""

    at_s: float
    model: int
    prompt: tuple[int, ...]


class Publication(NamedTuple):
    """From ``at_s`` on, the model has a new adapter."""

    at_s: float
    model: int
    adapter: int


class Schedule(NamedTuple):
    """All of a round. ``adapters`` are those that the models begin with.

    With ``is_two_phase`` a new adapter is prepared first, and the old one answers until that is done.
    """

    adapters: tuple[int, ...]
    arrivals: tuple[Arrival, ...]
    publications: tuple[Publication, ...]
    reply_tokens: int
    is_two_phase: bool


class Answered(NamedTuple):
    """What a request got, and from which adapter. ``is_first``: nobody had asked that adapter before."""

    model: int
    adapter: int
    is_first: bool
    served: Served


class OpenRound(NamedTuple):
    """The answers, and the seconds from each publication until its adapter answers."""

    answered: tuple[Answered, ...]
    until_ready: tuple[float, ...]


async def play_open(engine: Player, schedule: Schedule) -> OpenRound:
    """Play a round; ends when all have their answer."""
    return await _OpenLoop(engine, schedule).play()


class _OpenLoop:
    def __init__(self, engine: Player, schedule: Schedule) -> None:
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
        got = await served(self._engine, Ask(adapter, arrival.prompt, self._schedule.reply_tokens))
        return Answered(arrival.model, adapter, is_first, got)

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
