"""What actors are given in tests: a clock that the test drives and an engine that it scripts."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from populace.actors.engine import AdapterRef, BaseInfo, Delta, FinishReason, GenerateRequest
from populace.hosting.directory.directory import HostClient
from populace.hosting.directory.operations import Method, P, T, operation_of

Script = Callable[[GenerateRequest], AsyncGenerator[Delta, None]]
Step = Delta | Exception

BASE = BaseInfo("scripted", "b" * 64, 2048)


class FakeTimer:
    """A scheduled call of a ``FakeClock``."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    """Time that moves only in ``advance``, which fires due timers in the order of their times."""

    def __init__(self) -> None:
        self._now_s = 1000.0
        self._wall_ahead_s = 0.0
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def monotonic(self) -> float:
        return self._now_s

    def epoch_ms(self) -> int:
        return int((self._now_s + self._wall_ahead_s) * 1000)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self._now_s + delay_s, next(self._numbers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        until = self._now_s + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now_s, _, timer = heapq.heappop(self._timers)
            if not timer.is_cancelled:
                timer.callback()
        self._now_s = until

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back, while no time passes."""
        self._wall_ahead_s += seconds

    @property
    def timers(self) -> int:
        return sum(not timer.is_cancelled for _, _, timer in self._timers)


class ScriptedEngine:
    """An ``Engine`` that answers with a script; ``slots_held`` counts generators that are not closed."""

    def __init__(self, script: Script) -> None:
        self.base = BASE
        self.requests: list[GenerateRequest] = []
        self.slots_held = 0
        self.prepared: list[AdapterRef] = []
        self.replaced: list[AdapterRef | None] = []
        self.gates: dict[str, asyncio.Event] = {}
        """An adapter whose digest is here is prepared once its gate is open."""
        self._script = script

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        self.prepared.append(adapter)
        self.replaced.append(replaces)
        if adapter.digest in self.gates:
            await self.gates[adapter.digest].wait()

    async def forget(self, adapter: AdapterRef) -> None:
        self.prepared = [one for one in self.prepared if one != adapter]

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        self.slots_held += 1
        try:
            async with aclosing(self._script(request)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self.slots_held -= 1


class Dictation:
    """A script that waits for the test to say each step; an exception ends the reply with it."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self._steps: asyncio.Queue[Step] = asyncio.Queue()

    def say(self, *steps: Step) -> None:
        for step in steps:
            self._steps.put_nowait(step)

    async def __call__(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        self.started.set()
        while True:
            step = await self._steps.get()
            if isinstance(step, Exception):
                raise step
            yield step
            if step.finish_reason is not None:
                return


class FailingClient:
    """A host client that fails as if the network did: the next call of each named method, with its error."""

    def __init__(self, client: HostClient, failures: dict[str, list[Exception]]) -> None:
        self.calls: list[str] = []
        self._client = client
        self._failures = failures

    async def call(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
        name = operation_of(method).name
        self.calls.append(name)
        failures = self._failures.get(name)
        if failures:
            raise failures.pop(0)
        return await self._client.call(method, *args, **options)


def delta(text: str, finish_reason: FinishReason | None = None) -> Delta:
    return Delta(text=text, token_ids=(len(text),), prompt_tokens=7, finish_reason=finish_reason)


def spoken(*texts: str) -> Script:
    """A script that says the texts at once, the last one with the finish reason ``stop``."""

    async def script(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        for text in texts[:-1]:
            yield delta(text)
        yield delta(texts[-1], "stop")

    return script
