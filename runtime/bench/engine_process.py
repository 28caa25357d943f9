"""One side of a bench in a process of its own: an engine, and clients that keep it busy."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, contextmanager
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from populace.actors.engine import AdapterRef, GenerateRequest, Sampling
from populace.bench.engine_sides import Ask, Player, Side, Start
from populace.engines.options import EngineOptions
from populace.storage.revisions import adapter_digest

if TYPE_CHECKING:
    from populace.engines.vllm_engine import VllmEngine

T = TypeVar("T")


class Served(NamedTuple):
    """When each token of a reply came, in seconds after the request."""

    token_times: tuple[float, ...]


def longest_gap(replies: Iterable[Served]) -> float:
    """The longest pause inside any of the replies, in seconds."""
    return max(later - earlier for one in replies for earlier, later in pairwise(one.token_times))


class Round(NamedTuple):
    """What all clients got, and how long it took in all."""

    served: tuple[Served, ...]
    seconds: float


class RunningEngine:
    """An engine in its process, as the bench sees it."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, function: Callable[..., Coroutine[None, None, T]], *arguments: object) -> T:
        """Call a coroutine function of some module in the process, with the engine before the arguments."""
        return self._pool.submit(run, function, arguments).result()

    def play(self, clients: list[list[Ask]]) -> Round:
        """Let each client ask one request after the other, all clients side by side."""
        return self.run(_play, clients)

    def load(self, adapters: Sequence[int]) -> float:
        """Load the adapters, all asked for at once; answers the seconds until the last is ready."""
        return self.run(_load, adapters)


@contextmanager
def running_engine(side: Side, common: Start) -> Generator[RunningEngine]:
    """Start the engine in a process of its own, and stop it after the block."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(start, side, common).result()
        try:
            yield RunningEngine(pool)
        finally:
            pool.submit(stop).result()


class _Process(NamedTuple):
    """What a side's process keeps between rounds."""

    loop: asyncio.AbstractEventLoop
    engine: Player


_process: list[_Process] = []


def start(side: Side, common: Start) -> None:
    """In the engine's process: start it."""
    loop = asyncio.new_event_loop()
    engine = loop.run_until_complete(_start(side, common))
    _process.append(_Process(loop, engine))


def run(function: Callable[..., Coroutine[None, None, T]], arguments: tuple[object, ...]) -> T:
    """In the engine's process: see ``RunningEngine``."""
    [(loop, engine)] = _process
    return loop.run_until_complete(function(engine, *arguments))


def stop() -> None:
    loop, engine = _process.pop()
    loop.run_until_complete(engine.close())


async def _start(side: Side, common: Start) -> Player:
    if side.stock:
        from populace.bench.vllm_stock import StockVllm

        return await StockVllm.start(side, common)
    return await Ours.start(side, common)


async def _load(engine: Player, adapters: Sequence[int]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(engine.load(number) for number in adapters))
    return time.perf_counter() - began


async def _play(engine: Player, clients: list[list[Ask]]) -> Round:
    began = time.perf_counter()
    replies = await asyncio.gather(*(_client(engine, asks) for asks in clients))
    return Round(tuple(one for of_client in replies for one in of_client), time.perf_counter() - began)


async def _client(engine: Player, asks: list[Ask]) -> list[Served]:
    return [await served(engine, ask) for ask in asks]


async def served(engine: Player, ask: Ask) -> Served:
    """Ask one request and note when its tokens come."""
    began = time.perf_counter()
    times: list[float] = []
    async with aclosing(engine.tokens(ask)) as counts:
        async for count in counts:
            times += [time.perf_counter() - began] * count
    return Served(tuple(times))


class Ours:
    """The engine of Populace, and the adapters that it is started with."""

    def __init__(self, engine: "VllmEngine", adapters: list[AdapterRef]) -> None:
        self.engine = engine
        self.adapters = adapters
        self._count = 0

    @classmethod
    async def start(cls, side: Side, common: Start) -> "Ours":
        from populace.engines.vllm_engine import VllmEngine

        options = EngineOptions(
            common.base,
            common.fingerprint,
            common.context_tokens,
            adapter_slots=side.slots,
            rank_max=common.rank_max,
            threads=common.threads,
        )
        if side.warm_bytes_max is not None:
            options = options._replace(warm_bytes_max=side.warm_bytes_max)
        engine = await VllmEngine.start(options)
        adapters = [AdapterRef(adapter_digest(path)[0], str(path)) for path in common.adapters]
        return cls(engine, adapters)

    async def tokens(self, ask: Ask) -> AsyncGenerator[int, None]:
        """Yield how many tokens came, as they come."""
        adapter = None if ask.adapter is None else self.adapters[ask.adapter]
        async with aclosing(self.tokens_of(adapter, ask.prompt, ask.reply_tokens)) as counts:
            async for count in counts:
                yield count

    async def tokens_of(
        self, adapter: AdapterRef | None, prompt: tuple[int, ...], reply_tokens: int
    ) -> AsyncGenerator[int, None]:
        """Yield how many tokens came, as they come; the adapter may be any."""
        self._count += 1
        sampling = Sampling(max_tokens=reply_tokens, temperature=0.0, ignore_eos=True)
        request = GenerateRequest(str(self._count), prompt, sampling, adapter)
        async with aclosing(self.engine.generate(request)) as deltas:
            async for delta in deltas:
                yield len(delta.token_ids)

    async def load(self, adapter: int) -> None:
        """Make the adapter ready, as a request does before it asks vLLM anything."""
        await self.engine._ready(self.adapters[adapter])

    async def prepare(self, adapter: int, replaces: int) -> None:
        await self.engine.prepare(self.adapters[adapter], self.adapters[replaces])

    async def publish(self, adapter: AdapterRef, replaces: AdapterRef | None) -> None:
        """Bring in any adapter, as a new revision is brought in."""
        await self.engine.prepare(adapter, replaces)

    async def close(self) -> None:
        await self.engine.close()
