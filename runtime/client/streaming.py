"""A reply that is read while it is made."""

from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from populace.actors.turn import Interaction

T = TypeVar("T")

Parts = AsyncGenerator[str | Interaction, None]
"""Yields the texts of a reply in order, and last the turn as the log holds it."""


class AsyncReplyStream:
    """The texts of a reply, for ``async for``; ``interaction`` is the turn once all texts were read.

    A stream that is closed or dropped before its end cancels the turn: nothing of it is recorded.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.interaction: Interaction | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        async for part in self._parts:
            if isinstance(part, str):
                return part
            self.interaction = part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the reply. Safe to call twice, and after its end."""
        await self._parts.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Runner(Protocol):
    """Runs calls on a population's event loop, from any thread."""

    def run(self, call: Coroutine[Any, Any, T]) -> T: ...

    def start(self, call: Coroutine[Any, Any, Any]) -> None: ...


class ReplyStream:
    """The texts of a reply, for a ``for`` loop; ``interaction`` is the turn once all texts were read.

    A stream that is closed or dropped before its end cancels the turn: nothing of it is recorded.
    """

    def __init__(self, runner: Runner, stream: AsyncReplyStream) -> None:
        self._runner = runner
        self._stream = stream
        self._ended = False

    @property
    def interaction(self) -> Interaction | None:
        return self._stream.interaction

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        text = None if self._ended else self._runner.run(anext(self._stream, None))
        if text is None:
            self._ended = True
            raise StopIteration
        return text

    def close(self) -> None:
        """Stop the reply. Safe to call twice, and after its end."""
        self._ended = True
        self._runner.run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # `for text in ada.chat(…, stream=True): break` leaves nothing else that could close it.
        if not self._ended:
            closing = self._stream.aclose()
            with suppress(RuntimeError):  # closing the population has ended it already
                self._runner.start(closing)
                return
            closing.close()
