"""Clients that take turns until all are acknowledged, whatever happens meanwhile, and the law they check."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Protocol

from populace.actors.errors import HostUnavailable, TurnExpired
from populace.actors.hosts import ModelView
from populace.actors.turn import Interaction, ModelId
from populace.storage.records.errors import PositionConflict, ShardStopped, UnknownOutcome
from tests.actors.turns import TurnGiver, reply, take_turn, turn_of

PAGE = 1000


class Population(TurnGiver, Protocol):
    """What has models that give turns, and their logs: a host, or a directory of many."""

    async def create_model(self, model: ModelId) -> ModelView: ...

    async def read_log(
        self, model: ModelId, *, start: int = 0, limit: int = 100
    ) -> tuple[Interaction, ...]: ...


class Conversations:
    """Many clients of a few models; each makes one turn after the other until it is told to finish."""

    def __init__(self, population: Population, *, clients: int, models: int) -> None:
        self._population = population
        self._finishing = False
        self.models = [ModelId("acme", f"model-{number}") for number in range(models)]
        self._models_of = [self.models[number % models] for number in range(clients)]
        self.acknowledged: list[Interaction] = []
        self.errors: list[Exception] = []
        self._talking: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Create the models and let all clients talk."""
        await asyncio.gather(*(self._population.create_model(model) for model in self.models))
        self._talking = [
            asyncio.create_task(self._talk(number, model)) for number, model in enumerate(self._models_of)
        ]

    async def wait_acknowledged(self, count: int) -> None:
        """Return when at least so many turns are acknowledged in all."""
        while len(self.acknowledged) < count:
            ended, _ = await asyncio.wait(self._talking, timeout=0.001)
            for task in ended:
                task.result()  # a client ends early by an error only

    async def finish(self) -> None:
        """Let every client end the turn that it makes, and return when all have."""
        self._finishing = True
        await asyncio.gather(*self._talking)

    async def check_logs(self) -> None:
        """Check that the logs hold what was acknowledged, each turn once, in its place, and can go on."""
        for model in self.models:
            log = await self._read_log(model)
            mine = sorted(
                (one for one in self.acknowledged if one.model == model), key=lambda one: one.position
            )
            assert [one.position for one in log] == list(range(len(mine)))
            assert _told(log) == _told(mine)
            afterwards = await take_turn(self._population, turn_of(model, "afterwards"))
            assert afterwards.position == len(log)

    async def _talk(self, client: int, model: ModelId) -> None:
        for number in itertools.count():
            if self._finishing:
                return
            self.acknowledged.append(await self._say(model, f"client-{client}-turn-{number}"))

    async def _read_log(self, model: ModelId) -> list[Interaction]:
        log: list[Interaction] = []
        while page := await self._population.read_log(model, start=len(log), limit=PAGE):
            log += page
        return log

    async def _say(self, model: ModelId, operation: str) -> Interaction:
        while True:
            try:
                granted = await self._population.begin_turn(turn_of(model, operation))
                if isinstance(granted, Interaction):
                    return granted
                return await self._population.finish_turn(granted, reply(f"to {operation}"))
            except (HostUnavailable, PositionConflict, ShardStopped, TurnExpired, UnknownOutcome) as error:
                self.errors.append(error)


def _told(turns: Sequence[Interaction]) -> list[tuple[str, int, str]]:
    return [(one.operation, one.position, one.reply) for one in turns]
