"""One shard: one LMDB environment with one writing owner. The only file that imports ``lmdb``.

Ownership is an epoch in the environment itself. Opening takes the next one, and each write
transaction compares the stored epoch with the held one before it changes anything, so an
owner that was replaced while it was stopped (SIGSTOP, a long pause, a partition) gets
``Fenced`` instead of writing over its successor.

Durability is LMDB's default (``sync``, ``metasync``, no ``writemap``): of 400 simulated power
losses each, it is the only mode that lost nothing. After a failed commit the environment is
never used again, because a second fsync may report success for pages that the first one lost.

LMDB must not be used across ``fork``, on a network file system, or twice in one process.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import lmdb

from populace.storage import integrity
from populace.storage.errors import (
    Fenced,
    ShardStopped,
    StorageError,
    StoreInUse,
    StoreInvalid,
    UnknownOutcome,
)
from populace.storage.ownership import stored_epoch, take_ownership
from populace.storage.transaction import ReadTransaction, WriteTransaction

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAP_BYTES = 64 * 2**30
"""An address reservation, not disk or memory: the file grows as it is written."""

READERS_MAX = 1024

_BROKEN = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError, lmdb.DiskError)
"""What a read can meet that reading again will not cure."""


class ShardStatistics(NamedTuple):
    """``bytes_used`` of ``bytes_map`` pages have been in use; beyond ``bytes_map`` the map is doubled."""

    entries: int
    bytes_used: int
    bytes_map: int


class Shard:
    """An open environment that this process owns at ``epoch`` until another one opens it.

    Reads may run on any thread at any time. Writes of one shard run one at a time, each on the
    thread that called ``write``: an LMDB write transaction is bound to its OS thread.
    """

    def __init__(self, path: Path, number: int, shard_count: int, owner: str, *, map_bytes: int) -> None:
        """Use ``Shard.open``."""
        self.path = path
        self.number = number
        self.shard_count = shard_count
        self.owner = owner
        self.epoch = 0
        self._map_bytes = map_bytes
        self._writing = threading.Lock()
        self._refusal: StorageError | None = None
        self._environment = self._open_environment()

    @classmethod
    def open(
        cls, path: Path, number: int, shard_count: int, owner: str, *, map_bytes: int = MAP_BYTES
    ) -> "Shard":
        """Open or create the environment and take ownership of it: every earlier owner is fenced.

        ``owner`` says for humans who that is. Raises ``StoreVersionMismatch``, ``StoreInvalid``
        (not LMDB, or another shard's), and ``StoreInUse`` if this process has it open already.
        """
        shard = cls(path, number, shard_count, owner, map_bytes=map_bytes)
        shard._take_ownership()
        return shard

    def write(self, operations: Sequence[Callable[[WriteTransaction], T]]) -> list[T | Exception]:
        """Run the operations in one durable transaction and answer each one's outcome, in order.

        An operation that raises fails alone, and the others are committed. Operations may run
        more than once before the commit (when a neighbour has to be taken out, or the map
        grows), so they must be pure functions of the transaction. When this returns, the
        outcomes are on disk.

        Raises ``Fenced``, ``ShardStopped`` (nothing took effect) or ``UnknownOutcome``; the shard
        then refuses all work until ``reopen``.
        """
        with self._writing:
            failed: dict[int, Exception] = {}
            grown = False
            while True:
                self._raise_refusal()
                try:
                    return self._write_once(operations, failed)
                except _Poisoned as poisoned:
                    failed[poisoned.index] = poisoned.error
                except lmdb.MapFullError as error:
                    if grown:
                        self._stop(ShardStopped(self.number, str(error)), error)
                    grown = True
                    self._grow()

    @contextlib.contextmanager
    def read(self) -> Generator[ReadTransaction]:
        """Read one consistent snapshot; keep it short, for it pins every page freed meanwhile.

        Raises ``ShardStopped`` if the shard is stopped, closed, or has to grow its map meanwhile.
        """
        self._raise_refusal()
        try:
            with self._begin_read() as transaction:
                yield _Reader(transaction)
        except _BROKEN as error:
            self._stop(ShardStopped(self.number, str(error)), error)
        except lmdb.Error as error:
            self._raise_refusal()
            raise ShardStopped(self.number, str(error)) from error

    def reopen(self) -> None:
        """Close, open again and take ownership anew. Do not answer ``Fenced`` with this."""
        self.close()
        with self._writing:
            self._environment = self._open_environment()
            self._refusal = None
        self._take_ownership()

    def close(self) -> None:
        """Close after the running write; reads in progress get ``ShardStopped``. Safe to call twice."""
        with self._writing:
            self._refusal = self._refusal or ShardStopped(self.number, "it is closed")
            self._environment.close()

    def statistics(self) -> ShardStatistics:
        self._raise_refusal()
        information, page = self._environment.info(), self._environment.stat()
        return ShardStatistics(
            entries=page["entries"],
            bytes_used=(information["last_pgno"] + 1) * page["psize"],
            bytes_map=information["map_size"],
        )

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if the books of any model in the shard do not balance."""
        with self.read() as transaction:
            integrity.check(transaction)

    def _open_environment(self) -> lmdb.Environment:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            environment = lmdb.open(
                str(self.path),
                map_size=self._map_bytes,
                max_readers=READERS_MAX,
                max_spare_txns=16,
                readahead=False,
            )
            # A process that was killed while reading pins pages until its slot is cleared.
            environment.reader_check()
        except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
            raise StoreInvalid(str(self.path), str(error)) from error
        except lmdb.Error as error:
            if "already open in this process" in str(error):
                raise StoreInUse(str(self.path), "this process") from error
            raise ShardStopped(self.number, str(error)) from error
        return environment

    def _take_ownership(self) -> None:
        with self._writing:
            try:
                with self._begin_write() as transaction:
                    self.epoch = take_ownership(
                        _Writer(transaction), str(self.path), self.number, self.shard_count, self.owner
                    )
            except StorageError:
                self._environment.close()
                raise
            except lmdb.Error as error:
                self._environment.close()
                raise ShardStopped(self.number, str(error)) from error
        logger.info("shard %d is owned by %s at epoch %d", self.number, self.owner, self.epoch)

    def _write_once(
        self, operations: Sequence[Callable[[WriteTransaction], T]], failed: dict[int, Exception]
    ) -> list[T | Exception]:
        """Try the batch without the operations in ``failed``, which are answered with their errors."""
        try:
            transaction = self._begin_write()
        except lmdb.Error as error:
            self._stop(ShardStopped(self.number, str(error)), error)
        try:
            stored = stored_epoch(_Reader(transaction))
            if stored != self.epoch:
                self._stop(Fenced(self.number, self.epoch, stored))
            outcomes: list[T | Exception] = []
            for index, operation in enumerate(operations):
                outcomes.append(failed[index] if index in failed else _run(index, operation, transaction))
        except lmdb.MapFullError:
            transaction.abort()
            raise
        except lmdb.Error as error:
            transaction.abort()
            self._stop(ShardStopped(self.number, str(error)), error)
        except BaseException:
            transaction.abort()
            raise
        self._commit(transaction)
        return outcomes

    def _commit(self, transaction: "lmdb.Transaction[bytes]") -> None:
        try:
            transaction.commit()
        except lmdb.MapFullError:
            # The free list did not fit; LMDB finds out before it writes a page.
            raise
        except BaseException as error:
            self._stop(UnknownOutcome(self.number, str(error)), error)

    def _begin_write(self) -> "lmdb.Transaction[bytes]":
        try:
            return self._environment.begin(write=True)
        except lmdb.MapResizedError:
            # The next owner grew the map; adopt its size, then see that it is the owner.
            self._environment.set_mapsize(0)
            return self._environment.begin(write=True)

    def _begin_read(self) -> "lmdb.Transaction[bytes]":
        try:
            return self._environment.begin()
        except lmdb.ReadersFullError:
            self._environment.reader_check()
            return self._environment.begin()

    def _grow(self) -> None:
        """Double the map. LMDB ends the reads in progress, which get ``ShardStopped`` and may retry."""
        size = self._environment.info()["map_size"] * 2
        try:
            self._environment.set_mapsize(size)
        except lmdb.Error as error:
            self._stop(ShardStopped(self.number, str(error)), error)
        self._map_bytes = size
        logger.warning("shard %d outgrew its map, which is %d bytes now", self.number, size)

    def _stop(self, refusal: StorageError, cause: BaseException | None = None) -> NoReturn:
        """Refuse all further work, then raise ``refusal``."""
        if self._refusal is None:
            logger.error("shard %d stops: %s", self.number, refusal)
            # A later call's outcome is known: it is not even begun.
            later = (
                ShardStopped(self.number, refusal.cause) if isinstance(refusal, UnknownOutcome) else refusal
            )
            self._refusal = later
        raise refusal from cause

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(*self._refusal.args)


class _Poisoned(Exception):
    """An operation failed after it had written: the transaction must start again without it."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(index, error)
        self.index = index
        self.error = error


class _Reader:
    def __init__(self, transaction: "lmdb.Transaction[bytes]") -> None:
        self._transaction = transaction

    def get(self, key: bytes) -> bytes | None:
        return self._transaction.get(key)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor() as cursor:
            # ``after`` + NUL is the smallest key that is larger than ``after``.
            start = prefix if after is None else max(prefix, after + b"\0")
            found = cursor.set_range(start)
            while found and limit != 0:
                key, value = cursor.item()
                if not key.startswith(prefix):
                    return
                yield key, value
                limit = None if limit is None else limit - 1
                found = cursor.next()


class _Writer(_Reader):
    def __init__(self, transaction: "lmdb.Transaction[bytes]") -> None:
        super().__init__(transaction)
        self.writes = 0

    def put(self, key: bytes, value: bytes) -> None:
        self.writes += 1
        self._transaction.put(key, value)

    def delete(self, key: bytes) -> bool:
        self.writes += 1
        return self._transaction.delete(key)

    def delete_prefix(self, prefix: bytes) -> int:
        self.writes += 1
        count = 0
        with self._transaction.cursor() as cursor:
            # LMDB's delete leaves the cursor on the successor.
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                found = cursor.delete() and bool(cursor.key())
                count += 1
        return count


def _run(
    index: int, operation: Callable[[WriteTransaction], T], transaction: "lmdb.Transaction[bytes]"
) -> T | Exception:
    writer = _Writer(transaction)
    try:
        return operation(writer)
    except lmdb.Error:
        raise
    except Exception as error:
        if writer.writes == 0:
            return error
        raise _Poisoned(index, error) from error
