"""The shards of one host that are not open: each is opened on a thread, again and again until it can be.

At first all of them are. Later a shard whose disk failed: it is not trusted again before it was read whole.
What is found out on a thread is taken from here by whoever next asks for the shard.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from populace.actors.clock import Clock
from populace.policies.reopening import seconds_until_next
from populace.storage.journal.attaching import leave
from populace.storage.journal.errors import (
    BucketRefused,
    BucketUnreachable,
    JournalDamaged,
    JournalElsewhere,
    JournalNeeded,
    JournalTakenOver,
    JournalUnsettled,
)
from populace.storage.journal.former import noted_journal
from populace.storage.journal.journals import Journals
from populace.storage.records.errors import (
    Fenced,
    ShardAway,
    ShardStopped,
    ShardUnavailable,
    StorageError,
    StoreInUse,
)
from populace.storage.shards.shard import Shard
from populace.storage.store import Store

logger = logging.getLogger(__name__)

SOUND = (
    StoreInUse,
    BucketRefused,
    BucketUnreachable,
    JournalUnsettled,
    JournalElsewhere,
    JournalTakenOver,
    JournalNeeded,
    JournalDamaged,
)
"""What keeps a shard from being opened, and is no fault of its disk."""

AWAY = (BucketUnreachable, JournalUnsettled)
"""What keeps a shard from being opened until its object store answers."""

OPENINGS_MAX = 8
"""How many shards are opened at a time. One waits up to half a minute for a process that holds its lock."""


@dataclass(slots=True)
class _Absent:
    """Why a shard is not open, and the attempt to open it, or when the next one is due.

    ``is_sound``: nothing is wrong with its disk. Another process had it open, or its journal is away.
    """

    error: StorageError
    attempt: "Future[_Attempt] | None" = None
    failures: int = 0
    due_s: float = 0.0
    is_sound: bool = False

    def refusal(self) -> StorageError:
        # An exception that is raised again and again would collect the traceback of each time.
        return self.error.with_traceback(None)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What came of opening a shard, and how long it took."""

    opened: Shard | Exception
    seconds: float


class AbsentShards:
    """Opens shards in the background. Its methods are for one thread; only ``wait`` and ``close`` wait."""

    def __init__(self, store: Store, *, owner: str, clock: Clock, journals: Journals | None = None) -> None:
        """With ``journals``, a shard is open once it and its journal are the same."""
        self._store = store
        self._journals = journals
        self._owner = owner
        self._clock = clock
        self._absent: dict[int, _Absent] = {}
        self._openers = ThreadPoolExecutor(OPENINGS_MAX, thread_name_prefix="populace-open")
        # One at a time: if a disk fails with all of its shards, only one thread reads it.
        self._recoverer = ThreadPoolExecutor(1, thread_name_prefix="populace-recover")

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._absent))

    def __contains__(self, number: int) -> bool:
        return number in self._absent

    def open(self, numbers: Iterable[int]) -> None:
        """Begin to open the shards, under new epochs."""
        for number in numbers:
            attempt = self._openers.submit(self._attempt, number, whole=False)
            self._absent[number] = _Absent(ShardStopped(number, "it is being opened"), attempt)

    def recover(self, number: int) -> None:
        """Begin to read a shard whole whose disk failed, and then to open it."""
        attempt = self._recoverer.submit(self._attempt, number, whole=True)
        checked = ShardStopped(number, "its disk failed, and it is checked before it serves again")
        self._absent[number] = _Absent(checked, attempt)

    def fence(self, error: Fenced) -> None:
        """Note that another owner has the shard: it is not opened again."""
        self._absent[error.shard] = _Absent(error, due_s=float("inf"))

    def wait(self, seconds_max: float) -> None:
        """Wait for what is being opened."""
        wait([absent.attempt for absent in self._absent.values() if absent.attempt], timeout=seconds_max)

    def take(self, number: int) -> Shard:
        """Return the shard, which is open and the caller's from now on. Raises why it is not."""
        absent = self._absent[number]
        if absent.attempt is None:
            if self._clock.monotonic() >= absent.due_s:
                self._try_again(number, absent)
            raise absent.refusal()
        if not absent.attempt.done():
            raise absent.refusal()
        attempt = absent.attempt.result()
        if isinstance(attempt.opened, Shard):
            del self._absent[number]
            return attempt.opened
        absent.attempt = None
        absent.failures += 1
        is_away = isinstance(attempt.opened, AWAY)
        wait_s = seconds_until_next(absent.failures, attempt.seconds, is_away=is_away)
        absent.due_s = self._clock.monotonic() + wait_s
        absent.error = _refusal(number, attempt.opened)
        absent.is_sound = isinstance(attempt.opened, SOUND)
        logger.error(
            "shard %d is not served; it is tried again in %.0f s: %s", number, wait_s, attempt.opened
        )
        raise absent.refusal()

    def close(self) -> None:
        """Close what was opened meanwhile and is not taken; attempts under way end first."""
        self._openers.shutdown(cancel_futures=True)
        self._recoverer.shutdown(cancel_futures=True)
        for absent in self._absent.values():
            if absent.attempt is not None and not absent.attempt.cancelled():
                opened = absent.attempt.result().opened
                if isinstance(opened, Shard):
                    opened.close()
        self._absent.clear()

    def _try_again(self, number: int, absent: _Absent) -> None:
        # A shard that another process has open must not be read whole beside it.
        pool = self._openers if absent.is_sound else self._recoverer
        absent.attempt = pool.submit(self._attempt, number, whole=not absent.is_sound)

    def _attempt(self, number: int, *, whole: bool) -> _Attempt:
        begun = time.monotonic()
        try:
            opening = self._store.recover_shard if whole else self._store.open_shard
            return _Attempt(self._attached(opening(number, self._owner)), time.monotonic() - begun)
        except Exception as error:  # whatever it is, the host's other shards are served
            return _Attempt(error, time.monotonic() - begun)

    def _attached(self, shard: Shard) -> Shard:
        try:
            if self._journals is None:
                leave(shard, had_journal=noted_journal(self._store.path) is not None)
            else:
                self._journals.attach(shard)
        except BaseException:
            shard.close()
            raise
        return shard


def _refusal(number: int, error: Exception) -> StorageError:
    # Its own text may name paths of this machine, which are for the log and not for every caller.
    reason = error.code if isinstance(error, StorageError) else type(error).__name__
    return (ShardAway if isinstance(error, AWAY) else ShardUnavailable)(number, reason)
