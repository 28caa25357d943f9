"""The engines that a bench compares, and what they are asked."""

import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple, Protocol

PROMPT_TOKENS = 32
IDS = (100, 20_000)
"""Token ids that every base has."""


def draw_prompt(draw: random.Random) -> tuple[int, ...]:
    """Draw a prompt that no other request has."""
    return tuple(draw.randrange(*IDS) for _ in range(PROMPT_TOKENS))


class Side(NamedTuple):
    """How an engine is started. ``stock``: vLLM as it comes, with PEFT directories.

    ``warm_bytes_max`` None leaves host memory without a bound that matters here.
    """

    name: str
    stock: bool
    slots: int
    warm_bytes_max: int | None = None


class Start(NamedTuple):
    """What an engine is started with. ``adapters`` are PEFT directories, or packed files if it is ours."""

    base: Path
    fingerprint: str
    adapters: tuple[Path, ...]
    context_tokens: int
    rank_max: int
    threads: int


class Ask(NamedTuple):
    """One request: which adapter, None for the base, its prompt, and how many tokens the reply has."""

    adapter: int | None
    prompt: tuple[int, ...]
    reply_tokens: int


class Player(Protocol):
    """An engine as the clients see it."""

    def tokens(self, ask: Ask) -> AsyncGenerator[int, None]:
        """Yield how many tokens came, as they come."""
        ...

    async def load(self, adapter: int) -> None:
        """Make the adapter ready for a request."""
        ...

    async def prepare(self, adapter: int, replaces: int) -> None:
        """Bring the adapter as near as it can be without taking anything from those in use."""
        ...

    async def close(self) -> None: ...
