"""Ends long work soon after its training is no longer wanted.

Only the trainer knows whether a job was cancelled, and what takes long is far below it: replies that an
engine samples, and forward passes. These ask here, each for the training that it works for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

from populace.actors.errors import TrainingStopped

T = TypeVar("T")

LOOK_SECONDS = 0.2
"""Time between two looks at whether what is waited for is still wanted."""


class _Work(NamedTuple):
    """What is worked on: the training of the model ``name``, as long as it is wanted."""

    name: str
    is_wanted: Callable[[], bool]


_work: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextmanager
def only_while(is_wanted: Callable[[], bool], name: str) -> Generator[None]:
    """Let ``check_wanted`` raise in the block once ``is_wanted`` is false, with the model's ``name``.

    So it does in what the block starts on threads and event loops, where ``is_wanted`` is called then.
    """
    token = _work.set(_Work(name, is_wanted))
    try:
        yield
    finally:
        _work.reset(token)


def check_wanted() -> None:
    """Raise ``TrainingStopped`` if what is worked on here is no longer wanted."""
    work = _work.get()
    if work is not None and not work.is_wanted():
        raise TrainingStopped(work.name, "its job ended, or its trainer stops")


async def while_wanted(work: Awaitable[T]) -> T:
    """Await the work. Once it is no longer wanted, cancel it, await its end and raise ``TrainingStopped``."""
    working = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((working,), timeout=LOOK_SECONDS))[0]:
            check_wanted()
        return working.result()
    finally:
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))
