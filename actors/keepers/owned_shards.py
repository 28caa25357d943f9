"""The shards that one host owns: opened with a new epoch, read directly, written in groups.

Shards are opened in the background. One that is not open, or cannot be, refuses: reads are made on the
event loop and cannot wait, and callers wait with bounds of their own. One whose disk failed is not trusted
again: it is closed at once, and read whole before it serves. One that another owner fenced stays lost.
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from populace.actors.clock import Clock
from populace.actors.hosts import StoreStatistics
from populace.actors.keepers.absent_shards import AbsentShards
from populace.policies.compaction import erasure_due, worth_compacting
from populace.policies.served_time import SECONDS_FORGOTTEN_MAX, SECONDS_UNRECORDED, ServedTime
from populace.storage.backup_note import read_finished_ms
from populace.storage.journal.errors import JournalOutcomeUnknown
from populace.storage.journal.journals import Journals
from populace.storage.records.durations import added_up
from populace.storage.records.errors import (
    DiskFull,
    DiskRefused,
    Fenced,
    ShardAway,
    ShardStopped,
    ShardUnavailable,
    StorageError,
    UnknownOutcome,
)
from populace.storage.records.files import disk_named
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.shards.committer import Committer
from populace.storage.shards.ownership import store_served_ms, stored_served_ms
from populace.storage.shards.shard import Shard
from populace.storage.shards.statistics import ShardStatistics
from populace.storage.store import Store

T = TypeVar("T")

logger = logging.getLogger(__name__)

OPENING_SECONDS_MAX = 5.0
"""How long the start of a host waits for its shards. One takes milliseconds, if no process has its lock."""


@dataclass(frozen=True, slots=True)
class OwnedShard:
    """An open environment, the one thread that writes to it, and its time."""

    shard: Shard
    committer: Committer
    served: ServedTime
    journals: Journals | None

    def close(self) -> None:
        self.committer.close()
        if self.journals is not None:
            self.journals.detach(self.shard)
        self.shard.close()


class OwnedShards:
    """Reads and writes by shard number; ``on_lost`` is called when a shard's activations are stale."""

    def __init__(
        self,
        store: Store,
        numbers: Iterable[int],
        *,
        owner: str,
        clock: Clock,
        on_lost: Callable[[int, Exception], None],
        journals: Journals | None = None,
    ) -> None:
        """Open the shards; waits for them, but no longer than ``OPENING_SECONDS_MAX``, and raises nothing."""
        self._store = store
        self._journals = journals
        self._clock = clock
        self._on_lost = on_lost
        self._numbers = tuple(numbers)
        self._open: dict[int, OwnedShard] = {}
        self._absent = AbsentShards(store, owner=owner, clock=clock, journals=journals)
        self._closed = False
        self._absent.open(self._numbers)
        self._absent.wait(OPENING_SECONDS_MAX)
        self.take_opened()

    @property
    def numbers(self) -> tuple[int, ...]:
        return self._numbers

    def unopened(self) -> tuple[int, ...]:
        """Return the shards that cannot be opened, whose rows a list of all does without.

        Not those that are just being opened, or whose object store is away: to read them raises, as they are
        there again in a moment.
        """
        found: list[int] = []
        for number in self._numbers:
            try:
                self._shard(number)
            except ShardAway:
                continue
            except ShardUnavailable:
                found.append(number)
            except StorageError:
                continue
        return tuple(found)

    @property
    def listed(self) -> tuple[int, ...]:
        """The numbers but those of ``unopened``."""
        unopened = self.unopened()
        return tuple(number for number in self._numbers if number not in unopened)

    @contextlib.contextmanager
    def read(self, number: int) -> Generator[ReadTransaction]:
        """Read a snapshot. Raises ``Fenced``, ``ShardStopped`` and ``ShardUnavailable``."""
        owned = self._shard(number)
        try:
            with owned.shard.read() as transaction:
                yield transaction
        except ShardStopped as error:
            if owned.shard.is_stopped:
                self._lose(number, owned, error)
            raise

    async def read_on_thread(
        self,
        number: int,
        question: Callable[[ReadTransaction], T],
        *,
        thread: ThreadPoolExecutor | None = None,
    ) -> T:
        """Run a read that would block the event loop for too long, on any thread if none is named.

        Raises as ``read`` and ``question`` do.
        """
        owned = self._shard(number)
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, _answer, owned.shard, question)
        except ShardStopped as error:
            if owned.shard.is_stopped:
                self._lose(number, owned, error)
            raise

    async def write(self, number: int, operation: Callable[[WriteTransaction], T]) -> T:
        """Run ``operation`` in the shard's next group commit; return when it is durable.

        Raises what the operation raised, or ``UnknownOutcome``, ``Fenced``, ``ShardStopped``,
        ``ShardUnavailable``. A cancelled caller does not stop the commit.
        """
        owned = self._shard(number)
        now_ms = self.served_ms(number)
        is_recorded = owned.served.is_unrecorded(now_ms, SECONDS_UNRECORDED)

        def timed(txn: WriteTransaction) -> T:
            outcome = operation(txn)
            store_served_ms(txn, now_ms)
            return outcome

        try:
            outcome = await asyncio.shield(owned.committer.commit(timed if is_recorded else operation))
            if is_recorded:
                owned.served.note_recorded(now_ms)
            return outcome
        except (UnknownOutcome, Fenced, ShardStopped) as error:
            self._lose(number, owned, error)
            raise

    def served_ms(self, number: int) -> int:
        """The served time of the shard, in ms, by which its rows age. Raises as ``read`` does."""
        return self._shard(number).served.now_ms(self._clock.monotonic())

    async def record_time(self) -> None:
        """Record the served time in the shards that had no write for long."""
        for number, owned in list(self._open.items()):
            now_ms = owned.served.now_ms(self._clock.monotonic())
            if owned.served.is_unrecorded(now_ms, SECONDS_FORGOTTEN_MAX):
                try:
                    await self.write(number, lambda txn: None)
                except StorageError as error:
                    logger.warning("the time of shard %d was not recorded: %s", number, error)

    async def compact(self, *, free_bytes_min: int, now_ms: int) -> int:
        """Compact the shards whose files are worth it, one at a time on a thread; return how many.

        A shard's writes wait meanwhile, and its reads do not. A shard without room on the disk goes on
        as it is, and the log says so.
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
                # Also raised if the shard was being closed, or a long read was in progress.
                if owned.shard.is_stopped:
                    self._lose(number, owned, error)
            else:
                count += 1
        return count

    def shard(self, number: int) -> Shard | None:
        """Return the shard for reading on other threads; None if this host does not serve it now."""
        owned = self._open.get(number)
        return None if owned is None else owned.shard

    def statistics(self) -> StoreStatistics:
        """Measure the open shards; a stopped one counts as not open, also if it is found out only here.

        Raises ``DiskRefused`` if the data directory is gone.
        """
        with disk_named(self._store.path):
            disk_free_bytes = shutil.disk_usage(self._store.path).free
        sizes: list[ShardStatistics] = []
        for owned in self._open.values():
            with contextlib.suppress(StorageError):
                sizes.append(owned.shard.statistics())
        return StoreStatistics(
            shards_open=len(sizes),
            file_bytes=sum(size.bytes_used for size in sizes),
            free_bytes=sum(size.bytes_free for size in sizes),
            map_bytes=sum(size.bytes_map for size in sizes),
            map_share=max((size.bytes_used / size.bytes_map for size in sizes), default=0.0),
            reader_slots=max((size.reader_slots for size in sizes), default=0),
            reader_lag=max((size.reader_lag for size in sizes), default=0),
            long_reads=sum(len(size.long_reads) for size in sizes),
            full_maps=sum(size.full_maps for size in sizes),
            disk_free_bytes=disk_free_bytes,
            commit=added_up([owned.committer.statistics().spent for owned in self._open.values()]),
            fsync=added_up([owned.shard.synced.snapshot() for owned in self._open.values()]),
            backup_finished_ms=read_finished_ms(self._store.path),
            journal=None if self._journals is None else self._journals.statistics(),
        )

    def commit_statistics(self) -> tuple[int, int]:
        """Return the numbers of commits and of the transactions that carried them."""
        statistics = [owned.committer.statistics() for owned in self._open.values()]
        return sum(shard.commits for shard in statistics), sum(shard.batches for shard in statistics)

    def take_opened(self) -> None:
        """Serve the shards that could be opened since, and try those again that are due."""
        for number in self._absent:
            with contextlib.suppress(StorageError):
                self._shard(number)

    def is_held(self, number: int) -> bool:
        return number in self._open

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless each shard is in one state and its queue adds up. Reads no row."""
        open_, absent = set(self._open), set(self._absent)
        assert not open_ & absent, "a shard is opened that is open"
        assert open_ | absent == (set() if self._closed else set(self._numbers)), "a shard is in no state"
        for owned in self._open.values():
            owned.committer.check_integrity()
            owned.shard.check_reads()
            owned.served.check_integrity(self._clock.monotonic())

    def check_rows(self) -> None:
        """Raise ``AssertionError`` if a row breaks a law. Reads every row of every shard."""
        for owned in self._open.values():
            owned.shard.check_integrity()

    def ship_all(self, seconds_max: float) -> None:
        """Write to the journals all that is committed. Blocks. Raises ``BucketUnreachable``."""
        if self._journals is not None:
            self._journals.ship_all(seconds_max)

    def close(self) -> None:
        """Release the shards; what is being opened or checked ends first."""
        self._closed = True
        for owned in self._open.values():
            # Before the journals get their last: these commit what is queued.
            owned.committer.close()
        if self._journals is not None:
            self._journals.finish()
        for owned in self._open.values():
            owned.close()
        self._open.clear()
        self._absent.close()

    def _shard(self, number: int) -> OwnedShard:
        owned = self._open.get(number)
        if owned is None:
            if number not in self._absent:
                raise ShardStopped(number, "this host does not hold it")
            shard = self._absent.take(number)
            try:
                owned = self._open[number] = self._own(shard)
            except BaseException:
                shard.close()
                self._absent.recover(number)
                raise
        return owned

    def _own(self, shard: Shard) -> OwnedShard:
        with shard.read() as transaction:
            stored_ms = stored_served_ms(transaction)
        wall_ms, monotonic_s = self._clock.epoch_ms(), self._clock.monotonic()
        served = ServedTime(stored_ms, wall_ms=wall_ms, monotonic_s=monotonic_s)
        return OwnedShard(shard, Committer(shard), served, self._journals)

    def _lose(self, number: int, owned: OwnedShard, error: Exception) -> None:
        if self._open.get(number) is not owned:
            return
        del self._open[number]
        owned.close()
        if isinstance(error, Fenced):
            self._absent.fence(error)
        elif isinstance(error, JournalOutcomeUnknown):
            self._absent.open([number])
        else:
            self._absent.recover(number)
        self._on_lost(number, error)


def _answer(shard: Shard, question: Callable[[ReadTransaction], T]) -> T:
    with shard.read() as transaction:
        return question(transaction)
