"""One shard: one LMDB environment at a time with one writing owner.

Ownership is an epoch in the environment itself. Opening takes the next one, and each write
transaction compares the stored epoch with the held one before it changes anything, so an
owner that was replaced while it was stopped (SIGSTOP, a long pause, a partition) gets
``Fenced`` instead of writing over its successor.

Durability is LMDB's default (``sync``, ``metasync``, no ``writemap``): of 400 simulated power
losses each, it is the only mode that lost nothing. After a failed commit the environment is
never used again, because a second fsync may report success for pages that the first one lost.

A compaction makes another environment the shard, under the writer lock of the former one. A takeover
writes its epoch under that lock too, so a former owner finds a newer epoch than its own in any
environment that it still has open.

LMDB must not be used across ``fork``, on a network file system, or twice in one process.
"""

import contextlib
import errno
import logging
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import lmdb
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from populace.storage.records import erasures, keys
from populace.storage.records.durations import Durations
from populace.storage.records.errors import (
    DiskFull,
    Fenced,
    RecordInvalid,
    ShardStopped,
    StorageError,
    StoreDamaged,
    StoreInvalid,
    UnknownOutcome,
)
from populace.storage.records.files import disk_named
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import integrity
from populace.storage.shards import generations
from populace.storage.shards.environments import (
    BROKEN,
    DAMAGED,
    MAP_BYTES,
    begin_read,
    begin_whole,
    begin_write,
    create_environment,
    open_environment,
)
from populace.storage.shards.opening import Claim, take_over
from populace.storage.shards.ownership import stored_epoch
from populace.storage.shards.reads import READ_SECONDS_MAX, ReadsInProgress
from populace.storage.shards.rows import (
    Change,
    LmdbTransaction,
    Poisoned,
    Reader,
    Recorder,
    Writer,
    run_operations,
)
from populace.storage.shards.statistics import MAP_SHARE_MAX, ShardStatistics, map_share, measure


class Refusal:
    """Refuses nothing until ``stop`` or ``close``, and everything from then on until ``lift``."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._error: StorageError | None = None

    @property
    def is_on(self) -> bool:
        return self._error is not None

    def check(self) -> None:
        """Raise a fresh copy of the error that stopped the shard, if it is stopped."""
        if self._error is not None:
            raise type(self._error)(*self._error.args)

    def stop(self, error: StorageError, cause: BaseException | None = None) -> NoReturn:
        """Refuse all further work, then raise ``error``."""
        self.begin(error)
        raise error from cause

    def begin(self, error: StorageError) -> None:
        """Refuse all further work because of ``error``, unless it is refused already."""
        if self._error is None:
            logger.error("shard %d stops: %s", self._shard, error)
            # The outcome of a later call is known: it has not even begun.
            self._error = (
                ShardStopped(self._shard, error.cause) if isinstance(error, UnknownOutcome) else error
            )

    def close(self) -> None:
        """Refuse all further work; an earlier reason stays."""
        self._error = self._error or ShardStopped(self._shard, "it is closed")

    def lift(self) -> None:
        self._error = None


class SealedReader(Reader):
    """Implements ``ReadTransaction``. A row that is not properly sealed raises ``RecordInvalid``."""

    def __init__(self, transaction: LmdbTransaction, sealing: Sealing) -> None:
        super().__init__(transaction)
        self._sealing = sealing
        self._ciphers: dict[bytes, AESGCM] = {}

    def get(self, key: bytes) -> bytes | None:
        value = super().get(key)
        return value if value is None or not keys.is_sealed(key) else self._opened(key, value)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        for key, value in super().scan(prefix, after=after, limit=limit):
            yield key, self._opened(key, value) if keys.is_sealed(key) else value

    def _opened(self, key: bytes, value: bytes) -> bytes:
        if self._sealing.leaves_plain(value):
            return value
        return self._sealing.open(self._cipher(key), key, value)

    def _cipher(self, key: bytes) -> AESGCM:
        """Return the cipher of the model that the row belongs to."""
        data_key = keys.data_key_of(key)
        cipher = self._ciphers.get(data_key)
        if cipher is None:
            stored = super().get(data_key)
            if stored is None:
                raise RecordInvalid("data_key", f"it is missing for a sealed {keys.kind_of(key)}")
            cipher = self._ciphers[data_key] = self._sealing.cipher(stored)
        return cipher


class SealedWriter(SealedReader, Writer):
    """Implements ``WriteTransaction``. A model's data key must be put before its first sealed row."""

    def put(self, key: bytes, value: bytes) -> None:
        # Seal first: a row that cannot be sealed must fail before the transaction counts as written to.
        super().put(key, self._sealed(key, value))

    def _sealed(self, key: bytes, value: bytes) -> bytes:
        return self._sealing.seal(self._cipher(key), key, value) if keys.is_sealed(key) else value


Environment = TypeVar("Environment")


class LmdbSource(Protocol):
    """The part of LMDB that is used, declared here so that this file does not import it."""

    def copy(self, path: str, compact: bool = ..., /) -> None: ...


def write_copy(
    source: LmdbSource,
    path: Path,
    number: int,
    size: ShardStatistics,
    *,
    open_copy: Callable[[Path], Environment],
) -> tuple[Environment, Path]:
    """Write the rows of one snapshot durably to a new generation; return it open, and its directory.

    Raises ``DiskFull``, before anything is written if the lack of space is evident, and
    ``DiskRefused``. On any error, everything written is removed.
    """
    bytes_needed = size.bytes_used - size.bytes_free
    bytes_free = shutil.disk_usage(path).free
    if bytes_needed > bytes_free:
        raise DiskFull(number, bytes_needed, bytes_free)
    with disk_named(path):
        place = generations.add(path)
    try:
        source.copy(str(place), True)
        generations.sync_generation(place)
        return open_copy(place), place
    except Exception as error:
        generations.discard(place)
        # The code of an OSError, or LMDB's message for it.
        if errno.ENOSPC in (getattr(error, "errno", None), getattr(error, "code", None)):
            raise DiskFull(number, bytes_needed, shutil.disk_usage(path).free) from error
        raise


T = TypeVar("T")

logger = logging.getLogger(__name__)


class Shard:
    """An open environment that this process owns at ``epoch`` until another one opens it.

    Reads may run on any thread at any time. Writes of one shard run one at a time, each on the
    thread that called ``write``: an LMDB write transaction is bound to its OS thread.
    """

    def __init__(
        self,
        path: Path,
        number: int,
        shard_count: int,
        owner: str,
        *,
        sealing: Sealing | None,
        map_bytes: int,
    ) -> None:
        """Use ``Shard.open``."""
        self.path = path
        self.number = number
        self.shard_count = shard_count
        self.owner = owner
        self._sealing = sealing
        self._map_bytes = map_bytes
        self._writing = threading.Lock()
        self._reads = ReadsInProgress()
        self._refusal = Refusal(number)
        self._recorder: Recorder | None = None
        self._full_maps = 0
        self.synced = Durations()
        """How long it took to make transactions durable, each with its fsync."""
        self._environment, self._place, self.epoch = self._open()

    @classmethod
    def open(
        cls,
        path: Path,
        number: int,
        shard_count: int,
        owner: str,
        *,
        sealing: Sealing | None,
        map_bytes: int = MAP_BYTES,
        create: bool = True,
    ) -> "Shard":
        """Open the shard and take ownership of it: every earlier owner is fenced.

        With ``create``, an absent or empty directory becomes a fresh shard. The file of a shard of
        schema 1 is moved. ``owner`` names the owner for humans. With ``sealing`` None, rows are read as they
        are on disk, and ``write`` must not be called. Raises ``StoreVersionMismatch``,
        ``StoreInvalid`` (absent, not whole, not LMDB, or another shard's), ``DiskFull``, and
        ``StoreInUse`` if this process has it open already, or another one keeps the writer lock. A
        stopped process that keeps it is killed, see ``storage/shards/opening.py``.
        """
        if create:
            cls.create(path, number, shard_count)
        shard = cls(path, number, shard_count, owner, sealing=sealing, map_bytes=map_bytes)
        shard._migrate()
        return shard

    @classmethod
    def create(
        cls, path: Path, number: int, shard_count: int, rows: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Make a shard, durably, if the directory is absent or empty. It has no owner yet.

        ``rows`` are put as they are: rows of models must be sealed. Raises ``DiskRefused``, and what
        iterating over ``rows`` raises; there is no shard then.
        """
        create_environment(path, number, shard_count, rows)

    def write(self, operations: Sequence[Callable[[WriteTransaction], T]]) -> list[T | Exception]:
        """Run the operations in one durable transaction and return each one's outcome, in order.

        An operation that raises fails alone, and the others are committed. Operations may run
        more than once before the commit (when a neighbour has to be taken out, or the map
        grows), so they must be pure functions of the transaction. When this returns, the
        outcomes are on disk.

        Raises ``Fenced``, ``ShardStopped`` (nothing took effect) or ``UnknownOutcome``; the shard
        then refuses all work until ``reopen``. What else a recorder raises had no effect either.
        """
        return self._write(operations, verbatim=False)

    def apply(self, operation: Callable[[Writer], T]) -> T:
        """Run one operation that puts values as they are on disk, without the recorder. See ``write``."""
        [outcome] = self._write([operation], verbatim=True)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @contextlib.contextmanager
    def read(self, *, verbatim: bool = False) -> Generator[ReadTransaction]:
        """Read one consistent snapshot; keep it short, for it pins every page freed meanwhile.

        ``verbatim``: values as on disk. Raises ``ShardStopped`` if the shard is stopped or closed, and if its
        map has to grow or a compaction ends meanwhile and does not get by without; reading again helps then.
        """
        self._refusal.check()
        read = self._reads.begin()
        try:
            with begin_read(self._environment) as transaction:
                sealing = None if verbatim else self._sealing
                yield Reader(transaction) if sealing is None else SealedReader(transaction, sealing)
        except BROKEN as error:
            advice = "check the disk, and restore a backup if the file is damaged"
            self._refusal.stop(ShardStopped(self.number, f"{error}; {advice}"), error)
        except lmdb.Error as error:
            self._refusal.check()
            raise ShardStopped(self.number, str(error)) from error
        finally:
            self._reads.end(read)

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Keep the writer lock for the block, so that no other owner takes over. Raises as ``write`` does."""
        with self._writing:
            self._refusal.check()
            try:
                with self._owned() as transaction:
                    yield
                    transaction.abort()
            except lmdb.Error as error:
                self._refusal.stop(ShardStopped(self.number, str(error)), error)

    def record(self, recorder: Recorder) -> None:
        """Give the changes of each transaction from now on to ``recorder``, before they are durable here."""
        with self._writing:
            self._recorder = recorder

    def stop(self, error: StorageError) -> None:
        """Refuse all further work with this error, after the running write."""
        with self._writing:
            self._refusal.begin(error)

    def compact(self) -> None:
        """Replace the file, at the same epoch, with one that has the live rows and no bytes of deleted ones.

        Writes wait meanwhile (about 1 s for 1 GB of rows), reads do not; a read that lasts longer than
        ``READ_SECONDS_MAX`` after the swap gets ``ShardStopped``. A crash leaves the former file or
        the new one. Raises ``DiskFull``, after which the shard is unchanged, and ``Fenced`` and
        ``ShardStopped`` as ``write`` does.
        """
        with self._writing:
            self._refusal.check()
            former, former_place = self._environment, self._place
            size, open_copy = self.statistics(), partial(open_environment, self.path, self._map_bytes)
            try:
                environment, place = write_copy(former, self.path, self.number, size, open_copy=open_copy)
            except (lmdb.Error, OSError, StoreInvalid) as error:
                self._refusal.stop(ShardStopped(self.number, str(error)), error)
            self._swap(environment, place)
            self._environment, self._place = environment, place
            reads = self._reads.now()
        # Reads that begin from here on see the new file.
        self._reads.wait_ended(reads, READ_SECONDS_MAX)
        former.close()
        generations.retire(self.path, former_place)
        if size.erased is not None:
            # A crash before this costs another compaction.
            self.write([lambda txn: erasures.settle(txn, size.erased)])

    def reopen(self) -> None:
        """Close, open again and take ownership anew. Do not call it because of ``Fenced``."""
        self.close()
        with self._writing:
            self._environment, self._place, self.epoch = self._open()
            self._refusal.lift()
        self._migrate()

    def close(self) -> None:
        """Close after the running write; reads in progress get ``ShardStopped``. Safe to call twice."""
        with self._writing:
            self._refusal.close()
            self._environment.close()

    def statistics(self) -> ShardStatistics:
        self._refusal.check()
        read = self._reads.begin()  # so that no compaction closes what is measured
        try:
            with begin_read(self._environment) as transaction:
                erased = transaction.get(keys.ERASED_KEY)
            long_reads = self._reads.longer_than(READ_SECONDS_MAX)
            return measure(self._environment, erased=erased, long_reads=long_reads, full_maps=self._full_maps)
        except lmdb.Error as error:
            raise ShardStopped(self.number, str(error)) from error
        finally:
            self._reads.end(read)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` if the rows of any model in the shard break a law."""
        with self.read() as transaction:
            integrity.check(transaction)

    def check_reads(self) -> None:
        """Raise ``AssertionError`` if a read was never ended, as it would pin its pages for good."""
        self._reads.check_integrity()

    @property
    def is_stopped(self) -> bool:
        """Whether the shard refuses all work until it is reopened."""
        return self._refusal.is_on

    def _open(self) -> tuple[lmdb.Environment, Path, int]:
        claim = Claim(self.path, self.number, self.shard_count, self.owner)
        open_own = partial(open_environment, self.path, self._map_bytes)
        try:
            taken = take_over(claim, open_own, begin_whole, fatal=lmdb.Error)
        except ShardStopped as error:
            if isinstance(error.__cause__, DAMAGED):
                raise StoreDamaged(str(self.path), str(error.__cause__)) from error
            raise
        logger.info("shard %d is owned by %s at epoch %d", self.number, self.owner, taken[2])
        return taken

    def _migrate(self) -> None:
        """Move a shard of schema 1 into a generation; its new epoch already fences the older release."""
        if self._place == self.path:
            try:
                self.compact()
            except BaseException:
                self.close()
                raise

    def _swap(self, environment: lmdb.Environment, place: Path) -> None:
        """Make the copy the shard, unless another owner took over meanwhile."""
        try:
            with begin_write(self._environment) as transaction, environment.begin() as copied:
                stored = stored_epoch(Reader(transaction))
                if stored == stored_epoch(Reader(copied)) == self.epoch:
                    generations.point(self.path, place)
                    return
        except (lmdb.Error, OSError) as error:
            # ``current`` may name either now, so both stay until the shard is opened again.
            environment.close()
            self._refusal.stop(ShardStopped(self.number, str(error)), error)
        environment.close()
        generations.discard(place)
        self._refusal.stop(Fenced(self.number, self.epoch, stored))

    def _write(self, operations: Sequence[Callable[[Writer], T]], *, verbatim: bool) -> list[T | Exception]:
        with self._writing:
            failed: dict[int, Exception] = {}
            self._refusal.check()
            self._look_ahead()
            grown = False
            while True:
                try:
                    return self._write_once(operations, failed, verbatim)
                except Poisoned as poisoned:
                    failed[poisoned.index] = poisoned.error
                except lmdb.MapFullError as error:
                    if grown:
                        self._refusal.stop(ShardStopped(self.number, str(error)), error)
                    grown = True
                    self._full_maps += 1
                    self._grow()
                except lmdb.Error as error:
                    self._refusal.stop(ShardStopped(self.number, str(error)), error)

    def _write_once(
        self,
        operations: Sequence[Callable[[Writer], T]],
        failed: dict[int, Exception],
        verbatim: bool,
    ) -> list[T | Exception]:
        """Try the batch without the operations in ``failed``, whose outcomes are their errors."""
        recorder = None if verbatim else self._recorder
        changes: list[Change] | None = None if recorder is None else []
        with self._owned() as transaction:

            def begin() -> Writer:
                sealing = None if verbatim else self._sealing
                writer = Writer(transaction) if sealing is None else SealedWriter(transaction, sealing)
                writer.changes = changes
                return writer

            outcomes = run_operations(operations, failed, begin, fatal=lmdb.Error)
            if recorder is not None and changes:
                recorder.record(Writer(transaction), changes)
        self._commit(transaction, is_recorded=bool(changes))
        return outcomes

    @contextlib.contextmanager
    def _owned(self) -> "Generator[lmdb.Transaction[bytes]]":
        """Begin to write as the owner; the transaction is the caller's, unless the block raises."""
        transaction = begin_write(self._environment)
        try:
            stored = stored_epoch(Reader(transaction))
            if stored != self.epoch:
                self._refusal.stop(Fenced(self.number, self.epoch, stored))
            yield transaction
        except (Fenced, UnknownOutcome) as error:
            transaction.abort()
            self._refusal.stop(error)
        except BaseException:
            transaction.abort()
            raise

    def _commit(self, transaction: "lmdb.Transaction[bytes]", *, is_recorded: bool) -> None:
        began_s = time.monotonic()
        try:
            transaction.commit()
        except BaseException as error:
            if isinstance(error, lmdb.MapFullError) and not is_recorded:
                # The free list did not fit; LMDB detects this before it writes a page.
                raise
            self._refusal.stop(UnknownOutcome(self.number, str(error)), error)
        self.synced.add(time.monotonic() - began_s)

    def _look_ahead(self) -> None:
        """Grow the map before it is full, at a moment without reads, and report long reads."""
        self._reads.report_longer_than(READ_SECONDS_MAX, self.number)
        if map_share(self._environment) > MAP_SHARE_MAX:
            with self._reads.none_begins() as is_quiet:
                if is_quiet:
                    self._grow()

    def _grow(self) -> None:
        """Double the map. LMDB ends the reads in progress, which get ``ShardStopped`` and may retry."""
        size = self._environment.info()["map_size"] * 2
        try:
            self._environment.set_mapsize(size)
        except lmdb.Error as error:
            self._refusal.stop(ShardStopped(self.number, str(error)), error)
        self._map_bytes = size
        logger.warning("shard %d outgrew its map, which is %d bytes now", self.number, size)
