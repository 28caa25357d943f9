"""People who talk while machines are lost, what of it was acknowledged, and what their logs say then."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from populace.actors.engine import Message
from populace.actors.hosts import ModelView
from populace.actors.turn import Interaction, ModelId, Reply, TurnRequest
from populace.hosting.directory.directory import Directory
from populace.policies.placement import host_of, shard_of
from populace.storage.records.errors import PopulaceError

PAUSE_SECONDS = 0.02
"""Between two turns of a client: people read before they answer."""

AGAIN_SECONDS = 0.1
"""How long a client waits after an error before it sends the same turn again."""

PAGE = 1000


class Logs(Protocol):
    """What the load needs of the hosts, in the cluster or over HTTP, beside turns."""

    async def create_model(self, model: ModelId) -> ModelView: ...

    async def read_log(
        self, model: ModelId, *, start: int = 0, limit: int = 100
    ) -> tuple[Interaction, ...]: ...


TakeTurn = Callable[[ModelId, str], Awaitable[Interaction]]
"""Takes a turn of a model under an operation id. Raises ``PopulaceError``; then it is sent again."""


@dataclass(slots=True)
class Acknowledged:
    """A turn that a client has the reply of; times are those of the monotonic clock."""

    interaction: Interaction
    begun_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Audit:
    """What the logs say of the acknowledged turns: how many there are, are absent, and are there twice."""

    acknowledged: int
    lost: int
    doubled: int


@dataclass(slots=True)
class _Client:
    model: ModelId
    acknowledged: list[Acknowledged] = field(default_factory=list[Acknowledged])


class FailoverLoad:
    """Clients that each take turns of a model of their own, until they are told to finish."""

    def __init__(
        self, logs: Logs, take: TakeTurn, *, clients: int, shards: int, hosts: int, voice: str = "turn"
    ) -> None:
        """``voice`` is in the operation ids: several loads may talk to the same models."""
        self._logs = logs
        self._take = take
        self._shards = shards
        self._host_count = hosts
        self._voice = voice
        self._clients = [_Client(ModelId("bench", f"person-{number}")) for number in range(clients)]
        self._finishing = False
        self._talking: list[asyncio.Task[None]] = []
        self.errors: Counter[str] = Counter()
        """The errors that clients got, by code; each sent its turn again."""

        self.hosts = sorted({self._host(client.model) for client in self._clients})
        """The numbers of the hosts that have the clients' models."""

    async def begin(self) -> None:
        """Create the models and let all clients talk."""
        await asyncio.gather(*(self._logs.create_model(client.model) for client in self._clients))
        self.talk()

    def talk(self) -> None:
        """Let all clients talk, whose models exist."""
        self._talking = [asyncio.create_task(self._talk(client)) for client in self._clients]

    async def talk_for(self, seconds: float) -> None:
        """Return after a time; raises what ended a client early."""
        ended, _ = await asyncio.wait(self._talking, timeout=seconds)
        for task in ended:
            task.result()

    async def served_again(self, lost_s: float, hosts: Iterable[int]) -> list[float]:
        """Wait until each client of these hosts has a turn that it began after a loss at ``lost_s``.

        Returns the seconds from the loss to the first such turn's acknowledgement, for each client.
        """
        affected = [client for client in self._clients if self._host(client.model) in set(hosts)]
        while True:
            first = [_first_begun(client, lost_s) for client in affected]
            served = [turn.ended_s - lost_s for turn in first if turn is not None]
            if len(served) == len(affected):
                return served
            await self.talk_for(0.01)

    async def finish(self) -> None:
        """Let every client end the turn that it makes, and return when all have."""
        self._finishing = True
        await asyncio.gather(*self._talking)

    async def audit(self) -> Audit:
        """Read all logs, and compare them with what was acknowledged."""
        lost = doubled = count = 0
        for client in self._clients:
            log = await self._log(client.model)
            times = Counter(turn.operation for turn in log)
            doubled += sum(number - 1 for number in times.values())
            positions = {turn.operation: turn.position for turn in log}
            count += len(client.acknowledged)
            lost += sum(
                positions.get(turn.interaction.operation) != turn.interaction.position
                for turn in client.acknowledged
            )
        return Audit(count, lost, doubled)

    def _host(self, model: ModelId) -> int:
        return host_of(shard_of(model.tenant, model.name, self._shards), self._host_count)

    async def _talk(self, client: _Client) -> None:
        for number in itertools.count():
            if self._finishing:
                return
            begun_s = time.monotonic()
            interaction = await self._say(client.model, f"{client.model.name}-{self._voice}-{number}")
            client.acknowledged.append(Acknowledged(interaction, begun_s, time.monotonic()))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _say(self, model: ModelId, operation: str) -> Interaction:
        while True:
            try:
                return await self._take(model, operation)
            except PopulaceError as error:
                self.errors[error.code] += 1
                await asyncio.sleep(error.retry_after_s or AGAIN_SECONDS)

    async def _log(self, model: ModelId) -> list[Interaction]:
        log: list[Interaction] = []
        while page := await self._logs.read_log(model, start=len(log), limit=PAGE):
            log += page
        return log


async def take_turn(hosts: Directory, model: ModelId, operation: str) -> Interaction:
    """Take a turn with a fixed reply of some hundred characters; again with the same id, answer the first."""
    granted = await hosts.begin_turn(TurnRequest(model, operation, b"body"))
    if isinstance(granted, Interaction):
        return granted
    return await hosts.finish_turn(granted, reply_to(operation))


def reply_to(operation: str) -> Reply:
    return Reply(
        messages=(Message("user", f"Please remember {operation} for me. " * 4),),
        text=f"I will remember {operation}. " * 8,
        finish_reason="stop",
        prompt_tokens=30,
        completion_tokens=60,
        completion_id=operation,
    )


def _first_begun(client: _Client, since_s: float) -> Acknowledged | None:
    return next((turn for turn in client.acknowledged if turn.begun_s >= since_s), None)
