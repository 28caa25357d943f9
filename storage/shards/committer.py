"""Group commit: one thread per shard turns many small writes into few durable transactions.

An fsync costs 0.3 to 1 ms, regardless of how much it makes durable, so writes that arrive during one
share the next. The thread also keeps LMDB's rule that a write transaction stays on one OS thread.
"""

import asyncio
import copy
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from populace.storage.records.durations import DurationCounts, Durations
from populace.storage.records.errors import ShardStopped, StorageError, WriteQueueFull
from populace.storage.records.transaction import WriteTransaction
from populace.storage.shards.shard import Shard

T = TypeVar("T")

logger = logging.getLogger(__name__)

BATCH_MAX = 512
QUEUE_MAX = 8192


class CommitterStatistics(NamedTuple):
    """``commits`` operations took effect in ``batches`` transactions; ``waiting`` have not begun.

    ``spent`` counts how long each batch took, from the queue until it was durable.
    """

    commits: int
    batches: int
    waiting: int
    spent: DurationCounts


class _Waiting(NamedTuple):
    """One write and the future that waits for it: a thread's, or a task's on ``loop``."""

    operation: Callable[[WriteTransaction], object]
    future: Future[Any] | asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop | None


class Committer:
    """The write queue of one shard.

    Writes take effect in the order in which they were submitted; a batch has the writes that came while
    the previous one was written. It never waits for more: 16 tasks whose writes end together all submit
    again before the thread gets the interpreter, and a wait of 1 ms only halved their turns.
    When the shard stops, every queued write fails with its error; after ``Shard.reopen`` the same
    committer goes on.
    """

    def __init__(
        self,
        shard: Shard,
        *,
        batch_max: int = BATCH_MAX,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self._shard = shard
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._commits = 0
        self._batches = 0
        self._spent = Durations()
        self._submitted = 0
        self._answered = 0
        self._in_hand = 0
        self._thread = threading.Thread(target=self._run, name=f"populace-commit-{shard.number}", daemon=True)
        self._thread.start()

    def submit(self, operation: Callable[[WriteTransaction], T]) -> Future[T]:
        """Queue a write; the future gets the outcome once it is durable.

        See ``Shard.write`` for what an operation may do. Cancelling the future has an effect only
        while the write has not begun. Raises ``WriteQueueFull``, and ``ShardStopped`` after ``close``.
        """
        future: Future[T] = Future()
        self._enqueue(_Waiting(operation, future, None))
        return future

    async def commit(self, operation: Callable[[WriteTransaction], T]) -> T:
        """Queue a write and wait until it is durable: ``submit`` for tasks.

        Prefer it to wrapping ``submit``: a batch wakes the event loop once instead of once for
        each write. After a cancelled wait the write may or may not take effect.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._enqueue(_Waiting(operation, future, loop))
        return await future

    def close(self) -> None:
        """Refuse new writes, finish the queued ones and end the thread. Safe to call twice.

        The shard stays open.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def statistics(self) -> CommitterStatistics:
        with self._changed:
            return CommitterStatistics(self._commits, self._batches, len(self._queue), self._spent.snapshot())

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless every write has ended, is being written, or waits in bounds."""
        with self._changed:
            assert self._submitted == self._answered + self._in_hand + len(self._queue), "a write is missing"
            assert len(self._queue) <= self._queue_max, "the queue is over its bound"
            assert self._in_hand <= self._batch_max, "the batch is over its bound"
            assert self._closing or self._thread.is_alive(), "nobody writes any more"

    def _enqueue(self, waiting: _Waiting) -> None:
        with self._changed:
            if self._closing:
                raise ShardStopped(self._shard.number, "its committer is closed")
            if len(self._queue) >= self._queue_max:
                raise WriteQueueFull(self._shard.number, len(self._queue))
            self._queue.append(waiting)
            self._submitted += 1
            # The thread sleeps only on an empty queue.
            if len(self._queue) == 1:
                self._changed.notify()

    def _run(self) -> None:
        while batch := self._wait_batch():
            begun = [waiting for waiting in batch if _begin(waiting)]
            if begun:
                _deliver(begun, self._commit(begun))
            with self._changed:
                self._answered += len(batch)
                self._in_hand = 0

    def _wait_batch(self) -> list[_Waiting]:
        """Wait for the next batch and take it; it is empty when closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            self._in_hand = min(len(self._queue), self._batch_max)
            return [self._queue.popleft() for _ in range(self._in_hand)]

    def _commit(self, batch: Sequence[_Waiting]) -> list[object]:
        began_s = time.monotonic()
        try:
            outcomes = self._shard.write([waiting.operation for waiting in batch])
        except StorageError as error:
            # One exception raised in many tasks would collect the tracebacks of all of them.
            return [copy.copy(error) for _ in batch]
        except BaseException as error:  # a bug; the thread must go on, or every later write would hang
            logger.exception("a batch on shard %d failed", self._shard.number)
            return [error for _ in batch]
        with self._changed:
            self._commits += sum(1 for outcome in outcomes if not isinstance(outcome, Exception))
            self._batches += 1
            self._spent.add(time.monotonic() - began_s)
        return list(outcomes)


def _begin(waiting: _Waiting) -> bool:
    """Whether the write is still waited for; afterwards a thread's future cannot be cancelled."""
    if isinstance(waiting.future, asyncio.Future):
        return not waiting.future.cancelled()
    return waiting.future.set_running_or_notify_cancel()


def _deliver(batch: Sequence[_Waiting], outcomes: Sequence[object]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Future[Any] | asyncio.Future[Any], object]]] = {}
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.loop is None:
            _settle([(waiting.future, outcome)])
        else:
            by_loop.setdefault(waiting.loop, []).append((waiting.future, outcome))
    for loop, settled in by_loop.items():
        try:
            # Each call writes to the loop's wake-up socket and may lose the GIL to the loop for a
            # whole switch interval (5 ms), so there is one call for the batch and not one for each write.
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            logger.warning("a loop closed before %d of its writes were answered", len(settled))


def _settle(settled: Sequence[tuple[Future[Any] | asyncio.Future[Any], object]]) -> None:
    for future, outcome in settled:
        if future.done():
            continue
        if isinstance(outcome, StopIteration):
            # Futures refuse StopIteration, and the batch's other waiters would wait for ever.
            outcome = RuntimeError("a write raised StopIteration")
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
