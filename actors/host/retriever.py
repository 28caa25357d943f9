"""Finds in a model's log what a turn asks for, off the event loop.

The words of a log lie with its active model and count as its bytes: they leave with it, be it passivated or
erased. A host's searches run on one thread, so that the event loop shares its processor with that one alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from typing import ParamSpec, TypeVar

from populace.actors.context import context_digest
from populace.actors.errors import HostUnavailable
from populace.actors.feedback import feedback_by_position, judged
from populace.actors.host.activations import Activations
from populace.actors.host.personal_model import PersonalModel
from populace.actors.keepers.feedback_keeper import feedback_view
from populace.actors.keepers.log_index import LogIndex
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.turn import ModelId, TurnGrant
from populace.policies.ingestion import turns_in
from populace.policies.retrieval import Exchange, Retrieval, exchange_of, turn_words
from populace.storage.records.records import InteractionRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import ledger
from populace.storage.rows.feedback import read_feedback_on, walk_feedback

P = ParamSpec("P")
T = TypeVar("T")

PAGE_TURNS = 1024
"""Turns that one read of the store brings into an index: some 100 ms, while its pages are pinned."""

LOOKED_AT_MAX = 128
"""Turns that are read to find some that may come."""


class Retriever:
    """One of each host."""

    def __init__(
        self, host: str, shards: OwnedShards, shard_of: Callable[[ModelId], int], active: Activations
    ) -> None:
        self._host = host
        self._shards = shards
        self._shard_of = shard_of
        self._active = active
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="populace-retrieve")
        self._closed = False

    async def find(self, model: PersonalModel, grant: TurnGrant, wanted: Retrieval) -> tuple[Exchange, ...]:
        """Find turns before the granted one, best first.

        Of those that are not in the grant's history there are up to ``wanted.count``, and all of the
        history that fit better: how much of it the prompt has room for is found out later. Raises as a read.
        """
        begun = index = model.index
        while index.end < grant.position:
            index = await self._extended(grant.model, index, grant.position)
        index, ranked = await self._on_thread(partial(_ranked, index, wanted))
        if model.is_running(grant) and model.index is begun:  # else it leaves, or was corrected meanwhile
            self._put(model, index)
        history = turns_in([message for turn in grant.history for message in turn])
        return await self._read(
            grant.model, lambda txn: _exchanges(txn, grant.model, ranked, wanted, history)
        )

    def forget(self, model: PersonalModel) -> None:
        """Drop the words of the model's log: they are no longer what its turns are found by."""
        self._put(model, LogIndex())

    def close(self) -> None:
        """End what is being searched; who waits for it is told that the host is away."""
        self._closed = True
        self._thread.shutdown()

    async def _extended(self, model: ModelId, index: LogIndex, end: int) -> LogIndex:
        start, page = await self._read(model, lambda txn: _words(txn, model, index.end, end))
        reached = page[-1][0] + 1 if len(page) == PAGE_TURNS else end
        return await self._on_thread(lambda: index.extended(page, start=start, end=reached))

    def _put(self, model: PersonalModel, index: LogIndex) -> None:
        before = model.resident_bytes
        model.index = index
        self._active.note_grown(model, model.resident_bytes - before)
        if self._active.is_over and index.bytes:  # the words are read anew for each turn that asks
            self.forget(model)

    async def _read(self, model: ModelId, question: Callable[[ReadTransaction], T]) -> T:
        self._check_open()
        return await self._shards.read_on_thread(
            self._shard_of(model), self._while_open(question), thread=self._thread
        )

    async def _on_thread(self, work: Callable[[], T]) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._while_open(work))

    def _while_open(self, work: Callable[P, T]) -> Callable[P, T]:
        """Have what is still queued when the host closes not begin."""

        def checked(*args: P.args, **options: P.kwargs) -> T:
            self._check_open()
            return work(*args, **options)

        return checked

    def _check_open(self) -> None:
        if self._closed:
            raise HostUnavailable(self._host, "it is shutting down")


def shown_exchanges(
    txn: ReadTransaction, model: ModelId, record: InteractionRecord
) -> tuple[Exchange, ...] | None:
    """What was retrieved for a turn of the log, as its prompt had it; None if that cannot be known any more.

    A turn of it may be dropped, or was judged while this one was made, by a clock that may have jumped.
    """
    exchanges = tuple(
        exchange
        for position in record.retrieved
        if (exchange := _exchange(txn, model, position, before_ms=record.created_ms)) is not None
    )
    return exchanges if context_digest(exchanges) == record.context_digest else None


def _ranked(index: LogIndex, wanted: Retrieval) -> tuple[LogIndex, list[int]]:
    index = index.counted()
    return index, index.ranked(wanted.words)[:LOOKED_AT_MAX]


def _words(
    txn: ReadTransaction, model: ModelId, first: int, end: int
) -> tuple[int, list[tuple[int, list[str]]]]:
    """Where the log starts now, and the words of its next ``PAGE_TURNS`` at most at ``[first, end)``."""
    start = ledger.read_head(txn, *model).log_start
    first = max(first, start)
    records = ledger.read_log(txn, *model, start=first, limit=min(PAGE_TURNS, end - first))
    last = records[-1].position if records else first
    walk = takewhile(lambda one: one.position <= last, walk_feedback(txn, *model, first))
    given = feedback_by_position(feedback_view(model, one) for one in walk)
    return start, [
        (record.position, turn_words(record.messages, record.reply, judged(given.get(record.position, ()))))
        for record in records
    ]


def _exchanges(
    txn: ReadTransaction,
    model: ModelId,
    ranked: Sequence[int],
    wanted: Retrieval,
    history: frozenset[bytes],
) -> tuple[Exchange, ...]:
    found: dict[bytes, Exchange] = {}
    left = wanted.count
    for position in ranked:
        exchange = _exchange(txn, model, position)
        if exchange is None or exchange.turn in wanted.known or exchange.turn in found:
            continue
        found[exchange.turn] = exchange
        left -= exchange.turn not in history
        if left == 0:
            break
    return tuple(found.values())


def _exchange(
    txn: ReadTransaction, model: ModelId, position: int, *, before_ms: int | None = None
) -> Exchange | None:
    """The turn with what was thought of it, or was until then; None if it is dropped or must not come."""
    record = ledger.read_interaction(txn, *model, position)
    if record is None:
        return None
    given = [feedback_view(model, one) for one in read_feedback_on(txn, *model, position)]
    counting = [one for one in given if before_ms is None or one.created_ms <= before_ms]
    return exchange_of(position, record.messages, record.reply, judged(counting))
