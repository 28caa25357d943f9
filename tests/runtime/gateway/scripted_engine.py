"""An engine whose replies a test writes, and can hold before any of their tokens."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence

from populace.actors.engine import (
    AdapterRef,
    BaseInfo,
    Delta,
    Embedding,
    EngineReport,
    EngineStatistics,
    FinishReason,
    GenerateRequest,
    Prompt,
    PromptRead,
    TokenLogprob,
)
from populace.actors.errors import PromptTooLong
from populace.actors.owner import NO_OWNER, Owner
from tests.limits import HANG_SECONDS

BASE = BaseInfo("scripted", "f" * 64, 1000)


class ScriptedEngine:
    """Answers ``reply <n>`` and ``ending``, where n counts the requests, a token at a time.

    ``reply`` is said instead, if there is one. ``hold_before`` names the token that waits for ``gate``,
    as all embeddings do then; ``held`` is set when one waits there. ``failure`` is raised instead of token
    ``fail_before``, ``refusal`` when an adapter is prepared. ``memory`` is the state after every turn that
    writes one.
    """

    def __init__(self) -> None:
        self.base = BASE
        self.ending: tuple[str, ...] = (" to", " you")
        self.reply: tuple[str, ...] = ()
        self.requests: list[GenerateRequest] = []
        self.running: set[str] = set()
        self.hold_before: int | None = None
        self.held = asyncio.Event()
        self.gate = asyncio.Event()
        self.freed = asyncio.Event()
        self.fail_before = 0
        self.failure: Exception | None = None
        self.refusal: Exception | None = None
        self.finish_reason: FinishReason = "stop"
        self.prepared: list[str] = []
        self.memory: bytes | None = None

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        """Everything is ready, unless there is a ``refusal``."""
        if self.refusal is not None:
            raise self.refusal
        self.prepared.append(adapter.digest)

    async def forget(self, adapter: AdapterRef) -> None:
        """Nothing is kept."""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        tokens = self.reply or (f"reply {len(self.requests)}", *self.ending)
        prompt_tokens = prompt_length(request)
        if prompt_tokens + len(tokens) > BASE.context_tokens:
            raise PromptTooLong(prompt_tokens, len(tokens), BASE.context_tokens)
        self.running.add(request.request_id)
        try:
            for index, text in enumerate(tokens):
                if self.failure is not None and index == self.fail_before:
                    raise self.failure
                if index == self.hold_before:
                    self.held.set()
                    await self.gate.wait()
                row = TokenLogprob(index, text, -0.5, ((index, text, -0.5), (99, "other", -1.5)))
                yield Delta(
                    text=text,
                    token_ids=(index,),
                    prompt_tokens=prompt_tokens,
                    logprobs=() if request.sampling.logprobs is None else (row,),
                    finish_reason=self.finish_reason if index == len(tokens) - 1 else None,
                    prompt=prompt_read(request) if index == 0 else None,
                    memory=self.memory if request.memory and index == len(tokens) - 1 else None,
                )
        finally:
            self.running.discard(request.request_id)
            self.freed.set()

    async def embed(self, prompts: Sequence[Prompt], owner: Owner = NO_OWNER) -> list[Embedding]:
        """Count the prompt's characters or tokens in the first of three dimensions, and a 3 in the second."""
        if self.failure is not None:
            raise self.failure
        if self.hold_before is not None:
            self.held.set()
            await self.gate.wait()
        lengths = [len(prompt) for prompt in prompts]
        return [Embedding((n / math.hypot(n, 3), 3 / math.hypot(n, 3), 0.0), n) for n in lengths]

    async def wait_freed(self) -> None:
        """Wait until a reply has given its slot back."""
        async with asyncio.timeout(HANG_SECONDS):
            await self.freed.wait()

    async def check(self) -> None:
        """Answer as a replica that is well."""

    async def report(self) -> EngineReport:
        statistics = EngineStatistics(running=len(self.running), waiting=0, adapters_hot=0, adapter_slots=4)
        return EngineReport({0: statistics})

    def routed(self) -> dict[str, int]:
        return {"hot": len(self.requests)}


def prompt_read(request: GenerateRequest) -> PromptRead | None:
    """Describe the prompt if it was asked for: its words are its tokens, numbered from 100 on."""
    sampling = request.sampling
    if not sampling.wants_prompt:
        return None
    if isinstance(request.prompt, str):
        words = [f" {word}" if at else word for at, word in enumerate(request.prompt.split(" "))]
    else:
        words = [f"<{part}>" for part in request.prompt]
    ids = tuple(range(100, 100 + len(words)))
    if sampling.prompt_logprobs is None:
        return PromptRead(ids, "".join(words))
    rows = [
        TokenLogprob(token_id, word, -0.25, ((token_id, word, -0.25), (99, "other", -1.5)))
        for token_id, word in zip(ids, words, strict=True)
    ]
    return PromptRead(ids, "".join(words), words[0], tuple(rows[1:]))


def prompt_length(request: GenerateRequest) -> int:
    """Count words, which are this engine's tokens."""
    if isinstance(request.prompt, str):
        return len(request.prompt.split())
    return sum(len(str(part).split()) for part in request.prompt)
