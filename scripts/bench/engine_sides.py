"""The engines that a bench compares: how each is started, and the requests that it gets."""

import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple, Protocol

PROMPT_TOKENS = 32
IDS = (100, 20_000)
"""A half-open range of token ids that are in the vocabulary of every base."""


def draw_prompt(draw: random.Random) -> tuple[int, ...]:
    """Draw ``PROMPT_TOKENS`` random token ids, so that no other request has the same prompt."""
    return tuple(draw.randrange(*IDS) for _ in range(PROMPT_TOKENS))


class Side(NamedTuple):
    """One engine of a comparison. ``stock`` means unchanged vLLM, which reads PEFT directories.

    ``warm_bytes_max`` bounds the adapters in host memory; None keeps the engine's default.
    """

    name: str
    stock: bool
    slots: int
    warm_bytes_max: int | None = None


class Start(NamedTuple):
    """The base, adapters and limits that an engine is started with.

    ``adapters`` are PEFT directories for unchanged vLLM, and packed files for Populace's engine.
    """

    base: Path
    fingerprint: str
    adapters: tuple[Path, ...]
    context_tokens: int
    rank_max: int
    threads: int


class EngineRequest(NamedTuple):
    """A request for exactly ``reply_tokens`` tokens with this adapter, or None for the base alone."""

    adapter: int | None
    prompt: tuple[int, ...]
    reply_tokens: int


class BenchEngine(Protocol):
    """The operations that a bench needs of an engine; adapters are indices into ``Start.adapters``."""

    def tokens(self, ask: EngineRequest) -> AsyncGenerator[int, None]:
        """Yield the number of new tokens whenever some arrive."""
        ...

    async def load(self, adapter: int) -> None:
        """Make the adapter ready for a request."""
        ...

    async def prepare(self, adapter: int, replaces: int) -> None:
        """Prewarm the adapter that replaces another, without evicting an adapter that is in use."""
        ...

    async def close(self) -> None:
        """Stop the engine and free what it holds."""
        ...
