"""LMDB transactions behind the interface of ``storage/records/transaction.py``.

Values are as on disk; ``storage/shards/shard.py`` opens those that are sealed. The used part of LMDB is
declared as protocols, so that ``storage/shards/shard.py`` stays the only file that writes with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias, TypeVar

from populace.storage.records import keys

T = TypeVar("T")

PUT, DELETE, DELETE_PREFIX = 0, 1, 2

Change: TypeAlias = tuple[int, bytes, bytes] | tuple[int, bytes]
"""``(PUT, key, value)``, ``(DELETE, key)`` or ``(DELETE_PREFIX, prefix)``."""

VERBATIM_BYTES_A_COMMIT = 16 * 2**20
"""The bytes that one transaction of ``put_verbatim`` writes: LMDB keeps its changes in memory."""


class LmdbCursor(Protocol):
    def __enter__(self) -> "LmdbCursor": ...

    def __exit__(self, *args: object) -> None: ...

    def set_range(self, key: bytes, /) -> bool: ...

    def next(self) -> bool: ...

    def key(self) -> bytes: ...

    def item(self) -> tuple[bytes, bytes]: ...

    def delete(self) -> bool: ...


class LmdbTransaction(Protocol):
    def get(self, key: bytes, /) -> bytes | None: ...

    def put(self, key: bytes, value: bytes, /, *, append: bool = ...) -> bool: ...

    def delete(self, key: bytes, /) -> bool: ...

    def cursor(self) -> LmdbCursor: ...


class Reader:
    """Implements ``ReadTransaction``."""

    def __init__(self, transaction: LmdbTransaction) -> None:
        self._transaction = transaction

    def get(self, key: bytes) -> bytes | None:
        return self._transaction.get(key)

    def scan(
        self, prefix: bytes, *, after: bytes | None = None, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor() as cursor:
            # ``after`` + NUL is the smallest key larger than ``after``.
            start = prefix if after is None else max(prefix, after + b"\0")
            found = cursor.set_range(start)
            while found and limit != 0:
                key, value = cursor.item()
                if not key.startswith(prefix):
                    return
                yield key, value
                limit = None if limit is None else limit - 1
                found = cursor.next()


class Writer(Reader):
    """Implements ``WriteTransaction``, and knows whether it was written to, and what."""

    def __init__(self, transaction: LmdbTransaction) -> None:
        super().__init__(transaction)
        self.writes = 0
        self.changes: list[Change] | None = None
        """Where to note the changes, with values as on disk; None if they are not needed."""

    def put(self, key: bytes, value: bytes) -> None:
        self._note((PUT, key, value))
        self._transaction.put(key, value)

    def delete(self, key: bytes) -> bool:
        self._note((DELETE, key))
        return self._transaction.delete(key)

    def delete_prefix(self, prefix: bytes) -> int:
        self._note((DELETE_PREFIX, prefix))
        count = 0
        with self._transaction.cursor() as cursor:
            # LMDB's delete leaves the cursor on the successor.
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                found = cursor.delete() and bool(cursor.key())
                count += 1
        return count

    def apply(self, changes: Iterable[Change]) -> None:
        """Make changes that another writer noted."""
        for change in changes:
            match change:
                case (_, key, value):
                    self.put(key, value)
                case (kind, key) if kind == DELETE:
                    self.delete(key)
                case (_, prefix):
                    self.delete_prefix(prefix)

    def _note(self, change: Change) -> None:
        self.writes += 1
        if self.changes is not None:
            self.changes.append(change)


class Recorder(Protocol):
    """Takes note of what a shard commits, outside of it."""

    def record(self, writer: Writer, changes: Sequence[Change]) -> None:
        """Take the changes of a transaction that is about to be committed; ``writer`` may add rows to it.

        What it raises aborts the transaction. ``Fenced`` and ``UnknownOutcome`` stop the shard too.
        """
        ...


def put_verbatim(
    rows: Iterable[tuple[bytes, bytes]], begin: Callable[[], AbstractContextManager[LmdbTransaction]]
) -> None:
    """Put rows as they are on disk, in several transactions if needed to keep each one small.

    Use it only on an environment that has a shard's header and no other row, and is not a shard yet: a
    failure leaves a part of the rows in it. Rows that ascend take less space.
    """
    remaining = iter(rows)
    highest = keys.SHARD_KEY
    ended = False
    while not ended:
        with begin() as transaction:
            put_bytes = 0
            ended = True
            for key, value in remaining:
                # LMDB fills a page to its end if it is told that nothing will come between its rows.
                transaction.put(key, value, append=key > highest)
                highest = max(highest, key)
                put_bytes += len(key) + len(value)
                if put_bytes >= VERBATIM_BYTES_A_COMMIT:
                    ended = False
                    break


class Poisoned(Exception):
    """An operation failed after it had written: the transaction must be restarted without it."""

    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(index, error)
        self.index = index
        self.error = error


def run_operations(
    operations: Sequence[Callable[[Writer], T]],
    failed: Mapping[int, Exception],
    begin: Callable[[], Writer],
    *,
    fatal: type[Exception],
) -> list[T | Exception]:
    """Run each operation with a ``Writer`` of one transaction, and return each one's outcome.

    An outcome is a result, the error of an operation that wrote nothing, or the error in ``failed``. Raises
    ``Poisoned``, and what is ``fatal`` for the whole transaction.
    """
    return [
        failed[index] if index in failed else _run(index, operation, begin(), fatal)
        for index, operation in enumerate(operations)
    ]


def _run(
    index: int, operation: Callable[[Writer], T], writer: Writer, fatal: type[Exception]
) -> T | Exception:
    try:
        return operation(writer)
    except fatal:
        raise
    except Exception as error:
        if writer.writes == 0:
            return error
        raise Poisoned(index, error) from error
