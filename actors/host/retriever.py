"""Retrieves turns from a model's log for a new turn, off the event loop.

The words of a log, and the vectors of its sentences, are kept with its active model and count as its bytes:
they go when it is passivated or erased. A host's searches run on one thread, so that the event loop shares
its processor with that one only.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import ParamSpec, TypeVar

from populace.actors.context import context_digest
from populace.actors.errors import HostUnavailable
from populace.actors.feedback import Feedback, corrected, feedback_by_position, judged
from populace.actors.host.activations import Activations
from populace.actors.host.personal_model import PersonalModel
from populace.actors.keepers.feedback_keeper import feedback_view
from populace.actors.keepers.log_index import LogIndex
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.keepers.sentence_vectors import SentenceEncoder, SentenceVectors
from populace.actors.turn import ModelId, TurnGrant
from populace.policies.corrections import Corrected, applying
from populace.policies.corrections import comparable as comparable_corrections
from populace.policies.follow_ups import is_follow_up
from populace.policies.ingestion import turns_in
from populace.policies.questions import QUESTION_CHARACTERS_MAX, asks_for_told, is_question
from populace.policies.retrieval import (
    Exchange,
    Found,
    Retrieval,
    end_of,
    exchange_of,
    spoken_in,
    turn_words,
    words_of,
)
from populace.policies.tellings import comparable as comparable_tellings
from populace.policies.tellings import says_something, telling_for, what_it_means
from populace.storage.records.records import InteractionRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import ledger
from populace.storage.rows.feedback import read_feedback_on, walk_feedback

P = ParamSpec("P")
T = TypeVar("T")

PAGE_TURNS = 1024
"""One read of the store brings this many turns into an index: some 100 ms, while its pages are pinned."""

TELLINGS_MAX = 32
"""At most this many of the best turns are read to find the one that tells what is asked for."""

NEWEST_MAX = 32
"""With a sentence encoder this many of the newest turns are read too: one that tells it in other words has no
word by which it is found. Each that is new takes the encoder some milliseconds."""

ENCODED_AT_ONCE = 16
"""The thread encodes this many sentences before it looks at other people's turns: a tenth of a second."""

LOOKED_AT_MAX = 128
"""At most this many of the best turns are read to find those that may be retrieved."""


class Retriever:
    """Searches the logs of one host's models."""

    def __init__(
        self,
        host: str,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        active: Activations,
        encoder: SentenceEncoder | None = None,
    ) -> None:
        """Without an ``encoder`` words alone decide what a question asks for."""
        self._host = host
        self._encoder = encoder
        self._shards = shards
        self._shard_of = shard_of
        self._active = active
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="populace-retrieve")
        self._closed = False

    async def completed(
        self, model: PersonalModel | None, grant: TurnGrant, wanted: Retrieval | None
    ) -> TurnGrant:
        """Complete the grant with what ``find`` finds; without a query it stays as it is."""
        if wanted is None:
            return grant
        found = await self.find(model, grant, wanted)
        return replace(grant, retrieved=found.exchanges, correction=found.correction, telling=found.telling)

    async def find(self, model: PersonalModel | None, grant: TurnGrant, wanted: Retrieval) -> Found:
        """Find turns before the granted one, best first, and what corrects its reply, or tells it.

        Returns up to ``wanted.count`` turns that the grant has neither in its history nor as ``brought``, and
        all turns of these that fit better: how many of them the prompt has room for is known only later.
        Raises what a read raises. ``model`` None is one that is not active; its log is read anew.
        """
        correction = await self._correction(model, grant, wanted.asked) if wanted.corrections else None
        if wanted.count:
            return Found(await self._fitting(model, grant, wanted), correction)
        if correction is not None or not (wanted.told and asks_for_told(wanted.asked)):
            return Found((), correction)
        ranked = await self._ranked(model, grant, wanted)
        newest = range(grant.position - 1, grant.position - 1 - NEWEST_MAX, -1)
        best = ranked[:TELLINGS_MAX]
        positions = best if self._encoder is None else tuple(dict.fromkeys([*best, *newest]))
        told = await self._read(grant.model, lambda txn: _tellings(txn, grant.model, positions))
        telling = telling_for(wanted.asked, told)
        if telling is None and self._encoder is not None:
            may_tell = [(one.position, one.said) for one in comparable_tellings(wanted.asked, told)]
            likeness = await self._likeness(model, wanted.asked, may_tell)
            telling = telling_for(wanted.asked, told, likeness) if likeness else None
        return Found(telling=telling)

    async def _fitting(
        self, model: PersonalModel | None, grant: TurnGrant, wanted: Retrieval
    ) -> tuple[Exchange, ...]:
        ranked = await self._ranked(model, grant, wanted)
        granted = turns_in([message for turn in (*grant.history, *grant.brought) for message in turn])
        return await self._read(
            grant.model, lambda txn: _exchanges(txn, grant.model, ranked, wanted, granted)
        )

    async def _ranked(self, model: PersonalModel | None, grant: TurnGrant, wanted: Retrieval) -> list[int]:
        """Return the positions of the turns that fit best."""
        begun = index = LogIndex() if model is None else model.index
        while index.end < grant.position:
            index = await self._extended(grant.model, index, grant.position)
        index, ranked = await self._on_thread(partial(_ranked, index, wanted))
        # Else passivated or corrected meanwhile, or a peek.
        if model is not None and model.is_running(grant) and model.index is begun:
            self._put(model, index)
        return ranked

    async def _correction(self, model: PersonalModel | None, grant: TurnGrant, asked: str) -> Exchange | None:
        """Find the correction that applies. Of models without any only the first turn reads the store."""
        begun = None if model is None else model.index
        corrections = None if model is None else model.corrections
        if corrections is None:
            corrections = await self._read(grant.model, lambda txn: _corrections(txn, grant.model))
            # Else passivated or corrected meanwhile, or a peek.
            if model is not None and model.is_running(grant) and model.index is begun:
                before = model.resident_bytes
                model.corrections = corrections
                self._active.note_grown(model, model.resident_bytes - before)
        if not corrections:
            return None
        may_apply = () if self._encoder is None else comparable_corrections(corrections, asked)
        likeness = await self._likeness(model, asked, [(one.position, one.asked) for one in may_apply])
        position = await self._on_thread(partial(applying, corrections, asked, likeness))
        if position is None or position >= grant.position:
            return None
        return await self._read(grant.model, lambda txn: exchange_at(txn, grant.model, position))

    async def _likeness(
        self, model: PersonalModel | None, asked: str, texts: Sequence[tuple[int, str]]
    ) -> Mapping[int, float]:
        """Return how alike in meaning the question is to each text, by its position.

        Without an encoder there is nothing. What is encoded is kept also if the caller leaves: vectors are
        those of texts, whatever the log has.
        """
        encoder = self._encoder
        if encoder is None or not texts or len(asked) > QUESTION_CHARACTERS_MAX:
            return {}
        said = [text for _, text in texts]
        vectors = SentenceVectors() if model is None else model.vectors
        missing = vectors.missing(said)
        for start in range(0, len(missing), ENCODED_AT_ONCE):
            part = missing[start : start + ENCODED_AT_ONCE]
            begun, vectors = vectors, await self._on_thread(partial(vectors.extended, encoder, part))
            # Else forgotten meanwhile, or extended by another turn.
            if model is not None and model.vectors is begun:
                model.vectors = vectors
                self._active.note_grown(model, vectors.bytes - begun.bytes)
        likeness = await self._on_thread(partial(vectors.likeness, encoder, asked, said))
        if model is not None and self._active.is_over:
            self._drop_vectors(model)
        return {position: like for (position, _), like in zip(texts, likeness, strict=True)}

    def forget(self, model: PersonalModel, *, vectors: bool = True) -> None:
        """Drop what is kept of the model's log, because its turns have changed.

        If none was dropped, the ``vectors`` may stay: they are those of texts.
        """
        before = model.resident_bytes
        model.index, model.corrections = LogIndex(), None
        self._active.note_grown(model, model.resident_bytes - before)
        if vectors:
            self._drop_vectors(model)

    def _drop_vectors(self, model: PersonalModel) -> None:
        dropped, model.vectors = model.vectors, SentenceVectors()
        self._active.note_grown(model, -dropped.bytes)

    def close(self) -> None:
        """Stop the searches; callers that wait for one get ``HostUnavailable``."""
        self._closed = True
        self._thread.shutdown(cancel_futures=True)

    async def _extended(self, model: ModelId, index: LogIndex, end: int) -> LogIndex:
        start, page = await self._read(model, lambda txn: _words(txn, model, index.end, end))
        reached = page[-1][0] + 1 if len(page) == PAGE_TURNS else end
        return await self._on_thread(lambda: index.extended(page, start=start, end=reached))

    def _put(self, model: PersonalModel, index: LogIndex) -> None:
        before = model.resident_bytes
        model.index = index
        self._active.note_grown(model, model.resident_bytes - before)
        if self._active.is_over and index.bytes:  # each retrieval reads the words anew
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
        """Keep work from starting that is still queued when the host closes."""

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
    """What was retrieved for a turn of the log, as its prompt had it; None if that is not known any more.

    A retrieved turn may have been dropped, or the clock may have jumped. It may also have been judged while
    this turn was made: the digest of what was shown says which of the judgements came later.
    """
    told = {position: _told(txn, model, position) for position in record.retrieved}
    times = {feedback.created_ms for said in told.values() if said is not None for feedback in said[1]}
    for before_ms in sorted({record.created_ms, *(at - 1 for at in times if at <= record.created_ms)})[::-1]:
        exchanges = tuple(
            exchange
            for position, said in told.items()
            if said is not None and (exchange := _exchange(position, said, before_ms=before_ms)) is not None
        )
        if context_digest(exchanges) == record.context_digest:
            return exchanges
    return None


def _ranked(index: LogIndex, wanted: Retrieval) -> tuple[LogIndex, list[int]]:
    index = index.counted()
    return index, index.ranked(wanted.about)[:LOOKED_AT_MAX]


def _words(
    txn: ReadTransaction, model: ModelId, first: int, end: int
) -> tuple[int, list[tuple[int, list[str]]]]:
    """The start of the log, and the words of the first ``PAGE_TURNS`` turns at most in ``[first, end)``."""
    start = ledger.read_head(txn, *model).log_start
    first = max(first, start)
    records = ledger.read_log(txn, *model, start=first, limit=min(PAGE_TURNS, end - first))
    last = records[-1].position if records else first
    walk = takewhile(lambda record: record.position <= last, walk_feedback(txn, *model, first))
    given = feedback_by_position(feedback_view(model, record) for record in walk)
    return start, [
        (
            record.position,
            [
                *turn_words(record.messages, record.reply, judged(given.get(record.position, ()))),
                # Else a name that was told in greeting is found only among the newest turns.
                *(word for said in spoken_in(record.messages) for word in words_of(what_it_means(said))),
            ],
        )
        for record in records
    ]


def _exchanges(
    txn: ReadTransaction,
    model: ModelId,
    ranked: Sequence[int],
    wanted: Retrieval,
    granted: frozenset[bytes],
) -> tuple[Exchange, ...]:
    found: dict[bytes, Exchange] = {}
    left = wanted.count
    for position in ranked:
        exchange = exchange_at(txn, model, position)
        if exchange is None or exchange.turn in wanted.known or exchange.turn in found:
            continue
        if not says_something(exchange):
            continue
        found[exchange.turn] = exchange
        left -= exchange.turn not in granted
        if left == 0:
            break
    return tuple(found.values())


def _tellings(txn: ReadTransaction, model: ModelId, positions: Sequence[int]) -> list[Exchange]:
    """The turns that are no question."""
    found = (exchange_at(txn, model, position) for position in positions if position >= 0)
    return [exchange for exchange in found if exchange is not None and not is_question(exchange.said)]


def _corrections(txn: ReadTransaction, model: ModelId) -> tuple[Corrected, ...]:
    """Read what was corrected in the log, in the order in which it was, but what follows up alone."""
    given = corrected(feedback_view(model, record) for record in walk_feedback(txn, *model))
    corrections: list[Corrected] = []
    for position, judgement in given.items():
        record = ledger.read_interaction(txn, *model, position)
        exchange = record and exchange_of(position, record.messages, record.reply, judgement)
        if record is None or exchange is None or is_follow_up(record.messages, record.history_turns):
            continue
        # Not as in a prompt, where a long one is cut: its end may be all that tells it from another.
        asked = end_of("\n".join(spoken_in(record.messages)))
        corrections.append(Corrected(position, asked, exchange.answered))
    return tuple(corrections)


def exchange_at(txn: ReadTransaction, model: ModelId, position: int) -> Exchange | None:
    """Return a turn of the log with its correction; None if it was dropped or is no conversation."""
    said = _told(txn, model, position)
    return None if said is None else _exchange(position, said)


def _told(
    txn: ReadTransaction, model: ModelId, position: int
) -> tuple[InteractionRecord, list[Feedback]] | None:
    """A turn of the log and all feedback on it; None if it was dropped."""
    record = ledger.read_interaction(txn, *model, position)
    if record is None:
        return None
    return record, [feedback_view(model, given) for given in read_feedback_on(txn, *model, position)]


def _exchange(
    position: int, said: tuple[InteractionRecord, list[Feedback]], *, before_ms: int | None = None
) -> Exchange | None:
    """The turn with its feedback, until ``before_ms`` if given; None if it must not come."""
    record, given = said
    counting = [feedback for feedback in given if before_ms is None or feedback.created_ms <= before_ms]
    return exchange_of(position, record.messages, record.reply, judged(counting))
