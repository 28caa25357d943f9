"""Tracks the reads in progress on a shard, whose map must not be resized or closed under them unnoticed.

LMDB knows its readers' process and thread, not their age, and ends them when the map is resized
or closed. A long read pins every page that is freed meanwhile: 0.2 MiB of rows became 83 MiB of
file in 400 commits.
"""

import logging
import threading
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)

READ_SECONDS_MAX = 1.0
"""A longer read is reported in the log and the statistics, and is ended by a compaction."""


@dataclass(slots=True, eq=False)
class Read:
    """One read, identified by the thread that began it."""

    thread_id: int
    began_s: float
    is_reported: bool = False

    @property
    def thread(self) -> str:
        names = [thread.name for thread in threading.enumerate() if thread.ident == self.thread_id]
        return names[0] if names else str(self.thread_id)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began_s


class ReadsInProgress:
    """The reads in progress on one shard. Safe from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._waiting = 0
        self._reads: set[Read] = set()

    def begin(self) -> Read:
        read = Read(threading.get_ident(), time.monotonic())
        with self._lock:
            self._reads.add(read)
        return read

    def end(self, read: Read) -> None:
        with self._lock:
            self._reads.discard(read)
            if self._waiting:
                self._ended.notify_all()

    def now(self) -> tuple[Read, ...]:
        with self._lock:
            return tuple(self._reads)

    def longer_than(self, seconds: float) -> tuple[Read, ...]:
        return tuple(read for read in self.now() if read.seconds > seconds)

    def report_longer_than(self, seconds: float, shard: int) -> None:
        """Log each read that is older than ``seconds``, once."""
        for read in self.longer_than(seconds):
            if not read.is_reported:
                read.is_reported = True
                logger.warning("a read of shard %d on thread %s lasts and pins its pages", shard, read.thread)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if a read outlived its thread: it will never end."""
        alive = {thread.ident for thread in threading.enumerate()}
        left = [read.thread_id for read in self.now() if read.thread_id not in alive]
        assert not left, f"reads of the ended threads {left} are still in progress"

    @contextmanager
    def none_begins(self) -> Generator[bool]:
        """Block new reads during the block, which must be short; yield whether none is in progress."""
        with self._lock:
            yield not self._reads

    def wait_ended(self, reads: Collection[Read], timeout_s: float) -> bool:
        """Wait until these reads have ended; return whether they have within ``timeout_s``."""
        with self._ended:
            self._waiting += 1
            try:
                return self._ended.wait_for(lambda: self._reads.isdisjoint(reads), timeout_s)
            finally:
                self._waiting -= 1
