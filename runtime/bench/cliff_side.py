"""One side of ``populace bench cliff``, in a process of its own: an engine, and clients that keep it busy."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

from populace.actors.engine import AdapterRef, GenerateRequest, OwnedEngine, Sampling
from populace.bench.cliff_players import Ask, Player, Side, Start
from populace.storage.revisions import adapter_digest


class Served(NamedTuple):
    """When each token of a reply came, in seconds after the request."""

    token_times: tuple[float, ...]


class Round(NamedTuple):
    """What all clients got, and how long it took in all."""

    served: tuple[Served, ...]
    seconds: float


class _Process(NamedTuple):
    """What a side's process keeps between rounds."""

    loop: asyncio.AbstractEventLoop
    engine: Player


_process: list[_Process] = []


def start(side: Side, common: Start) -> None:
    """Start the engine of this process."""
    loop = asyncio.new_event_loop()
    engine = loop.run_until_complete(_start(side, common))
    _process.append(_Process(loop, engine))


def play(clients: list[list[Ask]], reply_tokens: int) -> Round:
    """Let each client ask one request after the other, all clients side by side."""
    [(loop, engine)] = _process
    return loop.run_until_complete(_play(engine, clients, reply_tokens))


def stop() -> None:
    loop, engine = _process.pop()
    loop.run_until_complete(engine.close())


async def _start(side: Side, common: Start) -> Player:
    if side.stock:
        from populace.bench.vllm_stock import StockVllm

        return await StockVllm.start(side, common)
    return await _Ours.start(side, common)


async def _play(engine: Player, clients: list[list[Ask]], reply_tokens: int) -> Round:
    began = time.perf_counter()
    replies = await asyncio.gather(*(_client(engine, asks, reply_tokens) for asks in clients))
    served = tuple(one for of_client in replies for one in of_client)
    return Round(served, time.perf_counter() - began)


async def _client(engine: Player, asks: list[Ask], reply_tokens: int) -> list[Served]:
    served: list[Served] = []
    for ask in asks:
        began = time.perf_counter()
        times: list[float] = []
        async with aclosing(engine.tokens(ask, reply_tokens)) as counts:
            async for count in counts:
                times += [time.perf_counter() - began] * count
        served.append(Served(tuple(times)))
    return served


class _Ours:
    """The engine of Populace."""

    def __init__(self, engine: OwnedEngine, adapters: list[AdapterRef]) -> None:
        self._engine = engine
        self._adapters = adapters
        self._count = 0

    @classmethod
    async def start(cls, side: Side, common: Start) -> "_Ours":
        from populace.engines.vllm_engine import VllmEngine

        options: dict[str, Any] = (
            {} if side.warm_bytes_max is None else {"warm_bytes_max": side.warm_bytes_max}
        )
        engine = await VllmEngine.start(
            common.base,
            common.fingerprint,
            context_tokens=common.context_tokens,
            adapter_slots=side.slots,
            rank_max=common.rank_max,
            threads=common.threads,
            **options,
        )
        adapters = [AdapterRef(adapter_digest(path)[0], str(path)) for path in common.adapters]
        return cls(engine, adapters)

    async def tokens(self, ask: Ask, reply_tokens: int) -> AsyncGenerator[int, None]:
        """Yield how many tokens came, as they come."""
        self._count += 1
        sampling = Sampling(max_tokens=reply_tokens, temperature=0.0, ignore_eos=True)
        request = GenerateRequest(str(self._count), ask.prompt, sampling, self._adapters[ask.adapter])
        async with aclosing(self._engine.generate(request)) as deltas:
            async for delta in deltas:
                yield len(delta.token_ids)

    async def close(self) -> None:
        await self._engine.close()
