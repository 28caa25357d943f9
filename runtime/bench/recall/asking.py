"""How the bench asks an engine: greedily, so many at once, and the base only once for each thing."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

from populace.actors.engine import Delta, Engine, GenerateRequest, MemoryUse, Message, Sampling, joined
from populace.bench.recall.grading import Reply

Conversation = tuple[Message, ...]
Report = Callable[[str, float], None]
T = TypeVar("T")


class Heard(NamedTuple):
    """A question that somebody asked at a stage of the bench, and the reply."""

    stage: str
    asked: str
    said: str
    prompt_tokens: int


class Progress:
    """How far the bench is: stages that take about as long as each other, and requests of each."""

    def __init__(self, report: Report, stages: int) -> None:
        self._report = report
        self._stages = stages
        self._begun = -1
        self.title = ""
        """Of the stage that runs."""
        self._requests = 1
        self._done = 0

    def begin(self, title: str, requests: int) -> None:
        """Begin the next stage, of about so many requests."""
        self._begun += 1
        self.title, self._requests, self._done = title, max(1, requests), 0
        self._show()

    def step(self) -> None:
        """Count a request as done."""
        self._done += 1
        self._show()

    def _show(self) -> None:
        within = min(1.0, self._done / self._requests)
        self._report(self.title, (self._begun + within) / self._stages)


class Asker:
    """Asks an engine greedily, so many requests at once, and keeps what the base alone said."""

    def __init__(self, engine: Engine, progress: Progress, *, reply_tokens: int, requests_max: int) -> None:
        self.progress = progress
        self.state_bytes = 0
        """Of the largest memory state that any reply left."""
        self.heard: list[Heard] = []
        self.context_tokens = engine.base.context_tokens
        self._engine = engine
        self._reply_tokens = reply_tokens
        self._places = asyncio.Semaphore(requests_max)
        self._numbers = itertools.count()
        self._base: dict[tuple[Conversation, int], Reply] = {}

    async def base(self, messages: Conversation, *, tokens_max: int | None = None) -> Reply:
        """What the base says without any memory; asked before, the same reply as then."""
        key = (messages, tokens_max or self._reply_tokens)
        if key not in self._base:
            reply, _ = await self.reply(messages, None, tokens_max=tokens_max)
            self._base[key] = reply
        return self._base[key]

    async def reply(
        self,
        messages: Conversation,
        memory: MemoryUse | None,
        *,
        tokens_max: int | None = None,
        said: Reply | None = None,
        is_question: bool = False,
    ) -> tuple[Reply, bytes | None]:
        """Ask, and return the reply with the state that it left. One that was ``said`` is said again."""
        sampling = Sampling(max_tokens=tokens_max or self._reply_tokens, temperature=0.0)
        async with self._places:
            request = GenerateRequest(
                f"recall-{next(self._numbers)}",
                messages,
                sampling,
                stream=False,
                memory=memory,
                reply_ids=None if said is None else said.token_ids,
            )
            deltas: list[Delta] = []
            async with aclosing(self._engine.generate(request)) as generated:
                async for delta in generated:
                    deltas.append(delta)  # noqa: PERF401 - closed if it is cancelled
        whole = joined(deltas)
        assert whole.finish_reason is not None, "the last delta has one"
        self.progress.step()
        if is_question:
            self.heard.append(
                Heard(self.progress.title, messages[-1].content, whole.text, whole.prompt_tokens)
            )
        self.state_bytes = max(self.state_bytes, len(whole.memory or b""))
        return said or Reply(whole.text, whole.token_ids, whole.finish_reason), whole.memory


async def side_by_side(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all of them at once; the first error ends the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def alone(text: str) -> Conversation:
    """A conversation of one message."""
    return (Message("user", text),)
