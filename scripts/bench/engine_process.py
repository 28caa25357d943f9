"""An engine in its own process, and concurrent clients that send it requests."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing, contextmanager
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from populace.actors.engine import AdapterRef, GenerateRequest, Sampling
from populace.engines.options import EngineOptions
from populace.storage.revisions import adapter_digest
from scripts.bench.engine_sides import BenchEngine, EngineRequest, Side, Start

if TYPE_CHECKING:
    from populace.engines.vllm_engine import VllmEngine

T = TypeVar("T")


class Served(NamedTuple):
    """The arrival times of a reply's tokens, in seconds after the request was sent."""

    token_times: tuple[float, ...]


def longest_gap(replies: Iterable[Served]) -> float:
    """Return the longest pause between two tokens of any reply, in seconds."""
    return max(later - earlier for reply in replies for earlier, later in pairwise(reply.token_times))


class Round(NamedTuple):
    """The replies to all clients, and the wall time of all of them in seconds."""

    served: tuple[Served, ...]
    seconds: float


class RunningEngine:
    """A handle on an engine in another process; calls block until the process has answered."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, function: Callable[..., Coroutine[None, None, T]], *arguments: object) -> T:
        """Return ``await function(engine, *arguments)`` of the engine's process; all of it must pickle."""
        return self._pool.submit(run, function, arguments).result()

    def play(self, clients: list[list[EngineRequest]]) -> Round:
        """Run all clients concurrently; each sends its requests one after the other."""
        return self.run(_play, clients)

    def load(self, adapters: Sequence[int]) -> float:
        """Load the adapters concurrently; return the seconds until the last is ready."""
        return self.run(_load, adapters)


@contextmanager
def running_engine(side: Side, common: Start) -> Generator[RunningEngine]:
    """Start the engine in its own process, and stop it after the block."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(start, side, common).result()
        try:
            yield RunningEngine(pool)
        finally:
            pool.submit(stop).result()


class _Process(NamedTuple):
    """The state of the engine's process between calls."""

    loop: asyncio.AbstractEventLoop
    engine: BenchEngine


_process: list[_Process] = []


def start(side: Side, common: Start) -> None:
    """Start the engine; runs in its process."""
    loop = asyncio.new_event_loop()
    engine = loop.run_until_complete(_start(side, common))
    _process.append(_Process(loop, engine))


def run(function: Callable[..., Coroutine[None, None, T]], arguments: tuple[object, ...]) -> T:
    """Run a coroutine function with the engine; runs in the engine's process."""
    [(loop, engine)] = _process
    return loop.run_until_complete(function(engine, *arguments))


def stop() -> None:
    """Close the engine; runs in its process."""
    loop, engine = _process.pop()
    loop.run_until_complete(engine.close())


async def _start(side: Side, common: Start) -> BenchEngine:
    if side.stock:
        from scripts.bench.vllm_stock import StockVllm

        return await StockVllm.start(side, common)
    return await PopulaceEngine.start(side, common)


async def _load(engine: BenchEngine, adapters: Sequence[int]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(engine.load(number) for number in adapters))
    return time.perf_counter() - began


async def _play(engine: BenchEngine, clients: list[list[EngineRequest]]) -> Round:
    began = time.perf_counter()
    replies = await asyncio.gather(*(_client(engine, asks) for asks in clients))
    return Round(tuple(reply for of_client in replies for reply in of_client), time.perf_counter() - began)


async def _client(engine: BenchEngine, asks: list[EngineRequest]) -> list[Served]:
    return [await served(engine, ask) for ask in asks]


async def served(engine: BenchEngine, ask: EngineRequest) -> Served:
    """Send one request and record when its tokens arrive."""
    began = time.perf_counter()
    times: list[float] = []
    async with aclosing(engine.tokens(ask)) as counts:
        async for count in counts:
            times += [time.perf_counter() - began] * count
    return Served(tuple(times))


class PopulaceEngine:
    """Populace's vLLM engine, and the adapters that it was started with."""

    def __init__(self, engine: "VllmEngine", adapters: list[AdapterRef]) -> None:
        self.engine = engine
        self.adapters = adapters
        self._count = 0

    @classmethod
    async def start(cls, side: Side, common: Start) -> "PopulaceEngine":
        """Start the engine with the packed files of ``common.adapters``."""
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

    async def tokens(self, ask: EngineRequest) -> AsyncGenerator[int, None]:
        """Yield the number of new tokens whenever some arrive."""
        adapter = None if ask.adapter is None else self.adapters[ask.adapter]
        async with aclosing(self.tokens_of(adapter, ask.prompt, ask.reply_tokens)) as counts:
            async for count in counts:
                yield count

    async def tokens_of(
        self, adapter: AdapterRef | None, prompt: tuple[int, ...], reply_tokens: int
    ) -> AsyncGenerator[int, None]:
        """Yield the number of new tokens whenever some arrive, with any adapter or the base alone."""
        self._count += 1
        sampling = Sampling(max_tokens=reply_tokens, temperature=0.0, ignore_eos=True)
        request = GenerateRequest(str(self._count), prompt, sampling, adapter)
        async with aclosing(self.engine.generate(request)) as deltas:
            async for delta in deltas:
                yield len(delta.token_ids)

    async def load(self, adapter: int) -> None:
        """Make the adapter ready as a request does before it reaches vLLM."""
        await self.engine._ready(self.adapters[adapter])

    async def prepare(self, adapter: int, replaces: int) -> None:
        """Prewarm an adapter of the start as the next revision after another of them."""
        await self.engine.prepare(self.adapters[adapter], self.adapters[replaces])

    async def publish(self, adapter: AdapterRef, replaces: AdapterRef | None) -> None:
        """Prewarm any adapter as a new revision."""
        await self.engine.prepare(adapter, replaces)

    async def close(self) -> None:
        """Stop the engine."""
        await self.engine.close()
