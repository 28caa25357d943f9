"""The shards that one host owns: opened with a new epoch, read directly, written in groups.

A shard whose disk failed is not trusted again: it is closed at once, opened under a new epoch, and read
whole on a thread before it serves. Meanwhile it refuses: reads are made on the event loop and cannot
wait, and callers wait with bounds of their own. A shard that is damaged, or that another owner
fenced, stays lost.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from populace.policies.compaction import erasure_due, worth_compacting
from populace.storage.committer import Committer
from populace.storage.errors import DiskFull, DiskRefused, Fenced, ShardStopped, StorageError, UnknownOutcome
from populace.storage.shard import Shard
from populace.storage.store import Store
from populace.storage.transaction import ReadTransaction, WriteTransaction

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnedShard:
    """An open environment and the one thread that writes to it."""

    shard: Shard
    committer: Committer

    def close(self) -> None:
        self.committer.close()
        self.shard.close()


class OwnedShards:
    """Reads and writes by shard number; ``on_lost`` is told when a shard's activations are stale."""

    def __init__(
        self, store: Store, numbers: Iterable[int], *, owner: str, on_lost: Callable[[int, Exception], None]
    ) -> None:
        self._store = store
        self._owner = owner
        self._on_lost = on_lost
        self._numbers = tuple(numbers)
        self._open: dict[int, OwnedShard] = {}
        self._lost: dict[int, StorageError] = {}
        self._recovering: dict[int, Future[Shard]] = {}
        # One at a time: a disk that failed, and takes all shards with it, is read by one thread.
        self._recoverer = ThreadPoolExecutor(1, thread_name_prefix="populace-recover")
        self._closed = False
        for number in self._numbers:
            self._open[number] = self._take(number)

    @property
    def numbers(self) -> tuple[int, ...]:
        return self._numbers

    @contextmanager
    def read(self, number: int) -> Generator[ReadTransaction]:
        """Read a snapshot. Raises ``Fenced``, ``ShardStopped`` and ``StoreDamaged``."""
        owned = self._shard(number)
        try:
            with owned.shard.read() as transaction:
                yield transaction
        except ShardStopped as error:
            if owned.shard.is_stopped:
                self._lose(number, owned, error)
            raise

    async def read_on_thread(self, number: int, question: Callable[[ReadTransaction], T]) -> T:
        """Answer a question that takes the event loop too long. Raises as ``read`` and ``question`` do."""
        owned = self._shard(number)
        try:
            return await asyncio.to_thread(_answer, owned.shard, question)
        except ShardStopped as error:
            if owned.shard.is_stopped:
                self._lose(number, owned, error)
            raise

    async def write(self, number: int, operation: Callable[[WriteTransaction], T]) -> T:
        """Run ``operation`` in the shard's next group commit; return when it is durable.

        Raises what the operation raised, or ``UnknownOutcome``, ``Fenced``, ``ShardStopped``,
        ``StoreDamaged``. A cancelled caller does not stop the commit.
        """
        owned = self._shard(number)
        try:
            return await asyncio.shield(owned.committer.commit(operation))
        except (UnknownOutcome, Fenced, ShardStopped) as error:
            self._lose(number, owned, error)
            raise

    async def compact(self, *, free_bytes_min: int, now_ms: int) -> int:
        """Compact the shards whose files are worth it, one at a time on a thread; answers how many.

        A shard's writes wait meanwhile, and its reads do not. One that has no room on the disk goes
        on as it is, and the log says so.
        """
        count = 0
        for number, owned in list(self._open.items()):
            try:
                size = owned.shard.statistics()
                is_due = size.erased is not None and erasure_due(
                    size.bytes_used, (now_ms - size.erased.first_ms) / 1000
                )
                if not is_due and not worth_compacting(
                    size.bytes_used, size.bytes_free, free_bytes_min=free_bytes_min
                ):
                    continue
                await asyncio.to_thread(owned.shard.compact)
            except (DiskFull, DiskRefused) as error:
                logger.warning("%s", error)
            except (Fenced, ShardStopped) as error:
                # Also while the shard was being closed, or read by a reader that lasted.
                if owned.shard.is_stopped:
                    self._lose(number, owned, error)
            else:
                count += 1
        return count

    def shard(self, number: int) -> Shard | None:
        """Return the shard for reading on other threads; None if this host does not serve it now."""
        owned = self._open.get(number)
        return None if owned is None else owned.shard

    def commit_statistics(self) -> tuple[int, int]:
        """Count commits and the transactions that carried them."""
        statistics = [owned.committer.statistics() for owned in self._open.values()]
        return sum(one.commits for one in statistics), sum(one.batches for one in statistics)

    def check_integrity(self) -> None:
        for owned in self._open.values():
            owned.shard.check_integrity()

    def close(self) -> None:
        """Release the shards, after a recovery that is under way."""
        self._closed = True
        for owned in self._open.values():
            owned.close()
        self._open.clear()
        self._recoverer.shutdown(cancel_futures=True)
        for recovering in self._recovering.values():
            if not recovering.cancelled() and recovering.exception() is None:
                recovering.result().close()
        self._recovering.clear()

    def _shard(self, number: int) -> OwnedShard:
        if number in self._lost:
            raise self._lost[number]
        owned = self._open.get(number)
        if owned is None:
            if self._closed or number not in self._numbers:
                raise ShardStopped(number, "this host does not hold it")
            owned = self._open[number] = self._recovered(number)
        return owned

    def _take(self, number: int) -> OwnedShard:
        shard = self._store.open_shard(number, self._owner)
        return OwnedShard(shard, Committer(shard))

    def _lose(self, number: int, owned: OwnedShard, error: Exception) -> None:
        if self._open.get(number) is not owned:
            return
        del self._open[number]
        owned.close()
        if isinstance(error, Fenced):
            self._lost[number] = error
        else:
            self._recover(number)
        self._on_lost(number, error)

    def _recover(self, number: int) -> Future[Shard]:
        recovering = self._recoverer.submit(self._store.recover_shard, number, self._owner)
        self._recovering[number] = recovering
        return recovering

    def _recovered(self, number: int) -> OwnedShard:
        """Take the shard that was recovered; raise ``ShardStopped`` while it is not."""
        recovering = self._recovering.get(number) or self._recover(number)
        if not recovering.done():
            raise ShardStopped(number, "its disk failed, and it is checked before it serves again")
        del self._recovering[number]
        try:
            shard = recovering.result()
        except StorageError as error:
            if error.retry_after_s is None:
                self._lost[number] = error
            raise
        return OwnedShard(shard, Committer(shard))


def _answer(shard: Shard, question: Callable[[ReadTransaction], T]) -> T:
    with shard.read() as transaction:
        return question(transaction)
