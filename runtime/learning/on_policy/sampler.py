"""Samples a trainer's replies from an engine, which often runs in another process.

The trainer sends a revision, packed as for publishing, and gets rollouts of it.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from populace.actors.engine import AdapterRef, Engine, MemoryUse, Message, OwnedEngine
from populace.actors.errors import EngineUnavailable, InvalidRequest, Refused, RolloutsStale, TrainingFailed
from populace.actors.owner import IN_BACKGROUND, Owner
from populace.learning.general_replies import Answerer
from populace.learning.rollouts import Rollout, UsableRollouts, answers, of_revision, roll_out
from populace.learning.wanted_work import while_wanted
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.revisions import RevisionFiles

T = TypeVar("T")


class Sampler(Answerer, Protocol):
    """Samples replies of a revision. It may lag behind, so each rollout names the revision that made it."""

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        """Sample ``replies`` replies to each prompt with the packed adapter, at temperature 1; blocks.

        The seeds of the replies are derived from ``seed``. Raises what ``Engine.prepare`` and
        ``Engine.generate`` raise.
        """
        ...


class NobodySamples:
    """The ``Sampler`` of a replay where no engine is: what was not recorded fails the training."""

    def __init__(self, model: str) -> None:
        self._model = model

    @property
    def context_tokens(self) -> int:
        """Nothing fits."""
        return 0

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        """Raise ``TrainingFailed``."""
        del packed, prompts, replies, tokens_max, seed
        raise self._failed()

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        """Raise ``TrainingFailed``."""
        del packed, prompts, tokens_max, memory
        raise self._failed()

    def _failed(self) -> TrainingFailed:
        reason = "this trainer samples from no engine, and needs more than was kept"
        return TrainingFailed(self._model, reason)


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
) -> list[UsableRollouts]:
    """Sample, and drop the rollouts that are not of the packed revision; one result for each prompt.

    Raises ``RolloutsStale`` if no rollout is left or, with ``complete``, if any was dropped, and
    ``TrainingFailed`` if the engine cannot sample. The errors name the model ``name``.
    """
    try:
        sampled = sampler.sample(packed, prompts, replies=replies, tokens_max=tokens_max, seed=seed)
    except (EngineUnavailable, Refused, InvalidRequest) as error:
        raise TrainingFailed(name, f"its replies could not be sampled: {error}") from error
    revision = PackedAdapter(memoryview(packed)).digest
    usable = [of_revision(rollouts, revision) for rollouts in sampled]
    masked = sum(replies.masked for replies in usable)
    if not any(replies.rollouts for replies in usable) or (complete and masked):
        raise RolloutsStale(name, revision, masked)
    return usable


class EngineSampler:
    """Samples from an engine that runs on ``loop``; calls block, and come from any thread but the loop's.

    A call whose replies are no longer wanted cancels them and raises ``TrainingStopped``, see
    ``wanted_work.py``.

    A revision that is not published is in a file and in the engine only during the call. If the process dies
    then, the sweep of ``revisions`` removes the file. ``owner`` is that of ``GenerateRequest``; without one
    the requests are everybody's, so that nothing of a person may be in them.
    """

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        revisions: RevisionFiles,
        *,
        owner: Owner = IN_BACKGROUND,
    ) -> None:
        self._engine = engine
        self.loop = loop
        self._revisions = revisions
        self._owner = owner

    @property
    def context_tokens(self) -> int:
        return self._engine.base.context_tokens

    def owned(self, owner: Owner) -> "EngineSampler":
        """Return a sampler whose requests are this owner's: the engine keeps what it caches of them apart."""
        return EngineSampler(self._engine, self.loop, self._revisions, owner=owner)

    def sample(
        self,
        packed: bytes | bytearray,
        prompts: Sequence[tuple[Message, ...]],
        *,
        replies: int,
        tokens_max: int,
        seed: int,
    ) -> list[list[Rollout]]:
        async def sample(adapter: AdapterRef) -> list[list[Rollout]]:
            return await roll_out(
                self._engine,
                prompts,
                adapter,
                replies=replies,
                tokens_max=tokens_max,
                seed=seed,
                owner=self._owner,
            )

        return self._with(packed, sample)

    def answers(
        self,
        packed: bytes | bytearray | None,
        prompts: Sequence[tuple[Message, ...]],
        *,
        tokens_max: int,
        memory: MemoryUse | None = None,
    ) -> list[Rollout]:
        """See ``Answerer``."""
        use = memory if self._engine.base.memory_module is not None else None

        async def answer(adapter: AdapterRef | None) -> list[Rollout]:
            return await answers(
                self._engine, prompts, adapter, tokens_max=tokens_max, memory=use, owner=self._owner
            )

        return _run(answer(None), self.loop) if packed is None else self._with(packed, answer)

    def _with(self, packed: bytes | bytearray, use: Callable[[AdapterRef], Awaitable[T]]) -> T:
        """Run ``use`` on the loop with the packed adapter prepared; remove it afterwards if unpublished."""
        with self._revisions.passing(packed) as (digest, path):
            adapter = AdapterRef(digest, str(path))
            is_published = path == self._revisions.path(digest)

            async def prepare_and_use() -> T:
                try:
                    await self._engine.prepare(adapter)
                    return await use(adapter)
                finally:
                    if not is_published:
                        await self._engine.forget(adapter)

            return _run(prepare_and_use(), self.loop)


@contextmanager
def engine_sampler(
    start: Callable[[], Awaitable[OwnedEngine]], revisions: RevisionFiles
) -> Generator[EngineSampler]:
    """Start an engine on a thread of its own, yield a sampler for it, and close it after the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sampler", daemon=True)
    thread.start()

    async def start_engine() -> OwnedEngine:
        return await start()

    try:
        engine = _run(start_engine(), loop)
        try:
            yield EngineSampler(engine, loop, revisions)
        finally:
            _run(engine.close(), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Run the coroutine on the loop and wait for it, as long as it is wanted.

    An interrupt of the waiting thread cancels it.
    """
    future: Future[T] = asyncio.run_coroutine_threadsafe(while_wanted(coroutine), loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
