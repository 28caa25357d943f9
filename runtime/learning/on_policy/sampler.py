"""Where a trainer's replies come from: an engine that is not the trainer's, and often another process.

One way goes a revision, packed as it would be published, the other way go rollouts of it.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from populace.actors.engine import AdapterRef, Engine, Message, OwnedEngine
from populace.actors.errors import EngineUnavailable, InvalidRequest, Refused, RolloutsStale, TrainingFailed
from populace.learning.rollouts import Rollout, Usable, answers, of_revision, roll_out
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.revisions import RevisionFiles

T = TypeVar("T")


class Sampler(Protocol):
    """Whoever answers prompts with a revision. It may be behind: each rollout says which it is of."""

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        """Answer each prompt so many times with the packed adapter; blocks.

        What is drawn follows from ``seed``. Raises what ``Engine.prepare`` and ``Engine.generate`` raise.
        """
        ...


def usable_rollouts(
    sampler: Sampler,
    name: str,
    packed: bytearray,
    prompts: Sequence[tuple[Message, ...]],
    *,
    replies: int,
    tokens_max: int,
    seed: int,
    complete: bool = False,
) -> list[Usable]:
    """Sample, and leave out the rollouts of other revisions than the packed one.

    Raises ``RolloutsStale`` if none is left, or with ``complete`` if one is not, and ``TrainingFailed`` if
    nothing could be sampled; they name the model ``name``.
    """
    try:
        sampled = sampler.sample(packed, prompts, replies=replies, tokens_max=tokens_max, seed=seed)
    except (EngineUnavailable, Refused, InvalidRequest) as error:
        raise TrainingFailed(name, f"its replies could not be sampled: {error}") from error
    revision = PackedAdapter(memoryview(packed)).digest
    usable = [of_revision(rollouts, revision) for rollouts in sampled]
    masked = sum(one.masked for one in usable)
    if not any(one.rollouts for one in usable) or (complete and masked):
        raise RolloutsStale(name, revision, masked)
    return usable


class EngineSampler:
    """Samples from an engine that runs on ``loop``. Any thread but the loop's may call it, and many at once.

    A revision that is not among the published ones is in a file and in the engine for the time of the call
    alone; a crash leaves the file to the sweep of ``revisions``. ``owner`` as in ``GenerateRequest``.
    """

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        revisions: RevisionFiles,
        *,
        owner: str = "",
    ) -> None:
        self._engine = engine
        self.loop = loop
        self._revisions = revisions
        self._owner = owner

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        async def sampled(adapter: AdapterRef) -> list[list[Rollout]]:
            return await roll_out(
                self._engine,
                prompts,
                adapter,
                replies=replies,
                tokens_max=tokens_max,
                seed=seed,
                owner=self._owner,
            )

        return self._with(packed, sampled)

    def answers(
        self, packed: bytes | bytearray, prompts: Sequence[tuple[Message, ...]], *, tokens_max: int
    ) -> list[str]:
        """Answer each prompt once with the packed adapter, greedily: what a person would get to read."""

        async def answered(adapter: AdapterRef) -> list[str]:
            said = await answers(self._engine, prompts, adapter, tokens_max=tokens_max, owner=self._owner)
            return [one.reply for one in said]

        return self._with(packed, answered)

    def _with(self, packed: bytes | bytearray, use: Callable[[AdapterRef], Awaitable[T]]) -> T:
        """Use the packed adapter on the loop, and leave nothing of it."""
        with self._revisions.passing(packed) as (digest, path):
            adapter = AdapterRef(digest, str(path))
            is_published = path == self._revisions.path(digest)

            async def used() -> T:
                try:
                    await self._engine.prepare(adapter)
                    return await use(adapter)
                finally:
                    if not is_published:
                        await self._engine.forget(adapter)

            return _run(used(), self.loop)


@contextmanager
def engine_sampler(
    start: Callable[[], Awaitable[OwnedEngine]], revisions: RevisionFiles
) -> Generator[EngineSampler]:
    """Run an engine on a thread of its own for the time of the block, and sample from it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sampler", daemon=True)
    thread.start()

    async def started() -> OwnedEngine:
        return await start()

    try:
        engine = _run(started(), loop)
        try:
            yield EngineSampler(engine, loop, revisions)
        finally:
            _run(engine.close(), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(what: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Run it there and wait for it here. Who is interrupted while waiting ends it first."""
    future: Future[T] = asyncio.run_coroutine_threadsafe(what, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
