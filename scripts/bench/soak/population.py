"""The population of a soak: hosts over a store on one event loop, and the operations on its models."""

import asyncio
import random
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from populace.actors.engine import Message
from populace.actors.errors import Refused
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import HostStatistics
from populace.actors.turn import ModelId, Reply, TurnGrant, TurnRequest
from populace.hosting.host_sweep import sweep
from populace.policies.log_retention import LogLimits
from populace.policies.placement import host_of, shard_of, shards_of
from populace.settings.clock import SystemClock
from populace.storage.shards.environments import MAP_BYTES
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from scripts.bench.store import ANSWERED, ASKED, BASE

HOSTS = 2
ZIPF_EXPONENT = 1.0
TENANTS = 10
TENANTS_LEAVING = 6
MESSAGES = (Message("user", ASKED),)


@dataclass(frozen=True, slots=True)
class SoakBench:
    """The size and the limits of a soak. A run of a minute reaches each limit many times.

    A share ``active_share`` of the identities take turns, by Zipf's law, for ``seconds`` or until there are
    ``turns``. Afterwards the models of ``TENANTS_LEAVING`` tenants are erased.
    """

    identities: int = 1_000_000
    active_share: float = 0.01
    seconds: float = 60.0
    turns: int | None = None
    seed: int = 1
    shards: int = 8
    map_bytes: int = 16 * 2**20
    resident_bytes_max: int = 16 * 2**20
    free_bytes_min: int = 2**20
    creates_at_once: int = 2048
    talks_at_once: int = 64
    sweep_seconds: float = 1.0

    @classmethod
    def sized(
        cls, identities: int, active_share: float, seconds: float, turns: int | None, seed: int
    ) -> "SoakBench":
        """Return a soak whose shards outgrow their maps several times, but never in one group commit."""
        return cls(
            identities,
            active_share,
            seconds,
            turns,
            seed,
            map_bytes=max(1, identities // 62_500) * 2**20,
            creates_at_once=min(2048, max(64, identities // 500)),
        )

    @property
    def active(self) -> int:
        """The number of identities that take turns."""
        return max(1, round(self.identities * self.active_share))

    @property
    def leaving(self) -> int:
        """The number of identities that are erased at the end."""
        return sum(1 for index in range(self.identities) if is_leaving(index))

    @property
    def limits(self) -> HostLimits:
        """The limits of each host; operation ids expire soon, as each keeps its interaction in the log."""
        return HostLimits(
            resident_bytes_max=self.resident_bytes_max // HOSTS,
            idle_seconds_max=5 * self.sweep_seconds,
            operation_seconds_kept=self.sweep_seconds,
            shard_free_bytes_min=self.free_bytes_min,
            log=LogLimits(interactions_min=8, interactions_max=128, bytes_max=2**20),
        )


class LogsFound(NamedTuple):
    """The number of wrong logs, and how many turns the longest log has had and still keeps."""

    wrong: int
    longest: int
    longest_kept: int


class SmallMapStore(Store):
    """A store whose shards begin with a map of at most ``map_bytes_max``, so that the maps have to grow."""

    map_bytes_max = MAP_BYTES

    def open_shard(self, number: int, owner: str, *, map_bytes: int = MAP_BYTES) -> Shard:
        """Open a shard with the smaller map."""
        return super().open_shard(number, owner, map_bytes=min(map_bytes, self.map_bytes_max))


class SoakPopulation:
    """Hosts over one store. ``turns`` counts acknowledged turns by model; ``times`` has their seconds."""

    def __init__(self, bench: SoakBench, store: Store) -> None:
        self._bench = bench
        self._store = store
        self._chance = random.Random(bench.seed)  # noqa: S311
        self._active = self._chance.sample(range(bench.identities), bench.active)
        weights = ((rank + 1) ** -ZIPF_EXPONENT for rank in range(bench.active))
        self._weights = array("d", accumulate(weights))
        self._ranks = range(bench.active)
        self.turns = array("q", bytes(8 * bench.active))
        self.times = array("d")
        self.identities = 0
        self.refusals = 0
        self._hosts = [
            ModelHost(
                f"soak-{number}",
                store,
                shards_of(number, store.shards, HOSTS),
                base=BASE,
                clock=SystemClock(),
                limits=bench.limits,
                used_elsewhere=self._adapters_in_use,
            )
            for number in range(HOSTS)
        ]

    @classmethod
    @asynccontextmanager
    async def running(cls, bench: SoakBench, path: Path) -> "AsyncGenerator[SoakPopulation]":
        """Open a new store and its hosts, sweep them during the block, and close them afterwards."""
        store = SmallMapStore.create_or_open(path, bench.shards)
        store.map_bytes_max = bench.map_bytes
        population = cls(bench, store)
        sweeps = [asyncio.create_task(sweep(host, seconds=bench.sweep_seconds)) for host in population._hosts]
        try:
            yield population
        finally:
            for sweeping in sweeps:
                sweeping.cancel()
            await asyncio.gather(*sweeps, return_exceptions=True)
            for host in population._hosts:
                host.close()

    async def _adapters_in_use(self, digests: frozenset[str]) -> frozenset[str]:
        return frozenset[str]().union(*[await host.adapters_in_use(digests) for host in self._hosts])

    async def create(self, until: int) -> None:
        """Create identities until there are ``until``; concurrent ones share group commits."""

        async def create(index: int) -> None:
            model = model_of(index)
            await self._host(model).create_model(model)
            self.identities += 1

        await _many(range(self.identities, until), create, self._bench.creates_at_once)

    async def talk(self) -> None:
        """Take turns of random active models until the time or the number of turns is reached."""
        until = time.monotonic() + self._bench.seconds
        turns = self._bench.turns

        def numbers() -> Iterable[int]:
            number = 0
            while time.monotonic() < until and (turns is None or number < turns):
                yield number
                number += 1

        await _many(numbers(), self._talk_once, self._bench.talks_at_once)

    async def leave(self) -> None:
        """Erase the models of the leaving tenants: whole ranges of keys, which frees whole pages."""
        leaving = filter(is_leaving, range(self._bench.identities))

        async def delete(index: int) -> None:
            model = model_of(index)
            await self._host(model).erase_model(model)
            self.identities -= 1

        await _many(leaving, delete, self._bench.creates_at_once)

    async def compact(self) -> None:
        """Compact the shards that are mostly free now, without waiting for a sweep."""
        for host in self._hosts:
            await host.compact_shards()

    async def check_logs(self) -> "LogsFound":
        """Compare the log of each active model with the turns that were acknowledged."""
        wrong, busiest = 0, max(self._ranks, key=lambda rank: self.turns[rank])
        kept = 0
        for rank, turns in enumerate(self.turns):
            model = model_of(self._active[rank])
            view = await self._host(model).show_model(model)
            wrong += view.log_position != turns
            if rank == busiest:
                kept = view.log_position - view.log_start
        return LogsFound(wrong, self.turns[busiest], kept)

    async def statistics(self) -> list[HostStatistics]:
        """Check the integrity of each host and return its statistics."""
        for host in self._hosts:
            host.check_integrity()
        return [statistics for host in self._hosts for statistics in await host.statistics()]

    async def _talk_once(self, number: int) -> None:
        [rank] = self._chance.choices(self._ranks, cum_weights=self._weights)
        model = model_of(self._active[rank])
        operation = f"turn-{number}"
        request = TurnRequest(model, operation, sha256(operation.encode()).digest())
        begun = time.perf_counter()
        try:
            grant = await self._host(model).begin_turn(request)
        except Refused:
            self.refusals += 1
            await asyncio.sleep(0)  # a refusal returns without waiting, so that other turns would never run
            return
        assert isinstance(grant, TurnGrant), "no operation id is used twice"
        reply = Reply(MESSAGES, ANSWERED, "stop", 90, 120, f"chatcmpl-{number}")
        await self._host(model).finish_turn(grant, reply)
        self.turns[rank] += 1
        self.times.append(time.perf_counter() - begun)

    def _host(self, model: ModelId) -> ModelHost:
        return self._hosts[host_of(shard_of(*model, self._store.shards), HOSTS)]


def model_of(index: int) -> ModelId:
    """Return the id of the identity number ``index``."""
    return ModelId(f"tenant-{index % TENANTS}", f"person-{index}")


def is_leaving(index: int) -> bool:
    """Return whether the identity is erased at the end."""
    return index % TENANTS < TENANTS_LEAVING


async def _many(numbers: Iterable[int], call: Callable[[int], Awaitable[None]], at_once: int) -> None:
    """Call with each number, ``at_once`` at a time; the first error cancels the rest and is raised."""
    remaining = iter(numbers)

    async def work() -> None:
        for number in remaining:
            await call(number)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
