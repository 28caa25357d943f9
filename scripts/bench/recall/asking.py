"""Sends the bench's requests to an engine: greedily, a bounded number at once, and each to the base once."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from populace.actors.engine import Delta, Engine, GenerateRequest, MemoryUse, Message, Sampling, joined
from scripts.bench.recall.grading import Reply

if TYPE_CHECKING:
    from scripts.bench.recall.neighbours import KeptTokens, NeighbourLanguageModel

Conversation = tuple[Message, ...]
Report = Callable[[str, float], None]
T = TypeVar("T")


class Heard(NamedTuple):
    """A question of a stage of the bench, the reply, and the number of tokens in the prompt."""

    stage: str
    asked: str
    said: str
    prompt_tokens: int


class Progress:
    """Reports progress: the share done of stages that take about equally long, by their requests."""

    def __init__(self, report: Report, stages: int) -> None:
        self._report = report
        self._stages = stages
        self._begun = -1
        self.title = ""
        """The title of the current stage."""
        self._requests = 1
        self._done = 0

    def begin(self, title: str, requests: int) -> None:
        """Begin the next stage; ``requests`` is an estimate of its number of requests."""
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
    """Sends greedy requests to an engine, at most ``requests_max`` at once, and caches the base's replies."""

    def __init__(
        self,
        engine: Engine,
        progress: Progress,
        *,
        reply_tokens: int,
        requests_max: int,
        neighbours: "NeighbourLanguageModel | None" = None,
    ) -> None:
        self.progress = progress
        self.state_bytes = 0
        """The size of the largest memory state that any reply left."""
        self.heard: list[Heard] = []
        self.context_tokens = engine.base.context_tokens
        self._engine = engine
        self._reply_tokens = reply_tokens
        self._places = asyncio.Semaphore(requests_max)
        self._numbers = itertools.count()
        self._base: dict[tuple[Conversation, int], Reply] = {}
        self._neighbours = neighbours

    @property
    def neighbours(self) -> "NeighbourLanguageModel":
        """The base in torch, with nearest neighbours beside it."""
        assert self._neighbours is not None, "the bench loads it for this way"
        return self._neighbours

    async def base(self, messages: Conversation, *, tokens_max: int | None = None) -> Reply:
        """Return the base's reply without a memory; the same messages are asked only once."""
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
        forced: Reply | None = None,
        is_question: bool = False,
    ) -> tuple[Reply, bytes | None]:
        """Return the reply and the memory state after it.

        If ``forced`` is given, the engine reads that reply and chooses no other. ``is_question`` records the
        reply in ``heard``.
        """
        sampling = Sampling(max_tokens=tokens_max or self._reply_tokens, temperature=0.0)
        async with self._places:
            request = GenerateRequest(
                f"recall-{next(self._numbers)}",
                messages,
                sampling,
                stream=False,
                memory=memory,
                reply_ids=None if forced is None else forced.token_ids,
            )
            deltas: list[Delta] = []
            async with aclosing(self._engine.generate(request)) as generated:
                async for delta in generated:
                    deltas.append(delta)  # noqa: PERF401 - aclosing needs the loop
        whole = joined(deltas)
        assert whole.finish_reason is not None, "the last delta has one"
        self.progress.step()
        if is_question:
            self.heard.append(
                Heard(self.progress.title, messages[-1].content, whole.text, whole.prompt_tokens)
            )
        self.state_bytes = max(self.state_bytes, len(whole.memory or b""))
        return forced or Reply(whole.text, whole.token_ids, whole.finish_reason), whole.memory

    async def reply_by_neighbours(
        self, messages: Conversation, kept: "Sequence[KeptTokens]", *, is_question: bool
    ) -> Reply:
        """Generate a reply from what a person's own tokens add to the base."""
        reply, prompt_tokens = await self.neighbours.reply(messages, kept)
        self.progress.step()
        if is_question:
            self.heard.append(Heard(self.progress.title, messages[-1].content, reply.text, prompt_tokens))
        return reply


async def side_by_side(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all coroutines concurrently and return their results; the first error cancels the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def alone(text: str) -> Conversation:
    """Return a conversation of one user's message."""
    return (Message("user", text),)
