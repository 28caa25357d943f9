"""The shards that one host owns: opened with a new epoch, read directly, written in groups.

A shard whose commit failed is not trusted again: it is closed and, on the next use, reopened
under a new epoch. A shard that another owner fenced stays lost.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from populace.storage.committer import Committer
from populace.storage.errors import Fenced, ShardStopped, UnknownOutcome
from populace.storage.shard import Shard
from populace.storage.store import Store
from populace.storage.transaction import ReadTransaction, WriteTransaction

T = TypeVar("T")


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
        self._fenced: dict[int, Fenced] = {}
        self._closed = False
        for number in self._numbers:
            self._open[number] = self._take(number)

    @property
    def numbers(self) -> tuple[int, ...]:
        return self._numbers

    @contextmanager
    def read(self, number: int) -> Generator[ReadTransaction]:
        with self._shard(number).shard.read() as transaction:
            yield transaction

    async def write(self, number: int, operation: Callable[[WriteTransaction], T]) -> T:
        """Run ``operation`` in the shard's next group commit; return when it is durable.

        Raises what the operation raised, or ``UnknownOutcome``, ``Fenced``, ``ShardStopped``.
        A cancelled caller does not stop the commit.
        """
        owned = self._shard(number)
        try:
            return await asyncio.shield(owned.committer.commit(operation))
        except (UnknownOutcome, Fenced, ShardStopped) as error:
            self._lose(number, owned, error)
            raise

    def commit_statistics(self) -> tuple[int, int]:
        """Count commits and the transactions that carried them."""
        statistics = [owned.committer.statistics() for owned in self._open.values()]
        return sum(one.commits for one in statistics), sum(one.batches for one in statistics)

    def check_integrity(self) -> None:
        for owned in self._open.values():
            owned.shard.check_integrity()

    def close(self) -> None:
        self._closed = True
        for owned in self._open.values():
            owned.close()
        self._open.clear()

    def _shard(self, number: int) -> OwnedShard:
        if number in self._fenced:
            raise self._fenced[number]
        owned = self._open.get(number)
        if owned is None:
            if self._closed or number not in self._numbers:
                raise ShardStopped(number, "this host does not hold it")
            owned = self._open[number] = self._take(number)
        return owned

    def _take(self, number: int) -> OwnedShard:
        shard = self._store.open_shard(number, self._owner)
        return OwnedShard(shard, Committer(shard))

    def _lose(self, number: int, owned: OwnedShard, error: Exception) -> None:
        if self._open.get(number) is not owned:
            return
        del self._open[number]
        if isinstance(error, Fenced):
            self._fenced[number] = error
        owned.close()
        self._on_lost(number, error)
