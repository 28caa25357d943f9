"""Asks a personal model what it knows of its person, in peeks: nothing is logged, and no turn waits.

Each question is asked as in a chat, where the log has a correction of the answer or a turn that tells it, and
of the memory and the adapter alone. The answers to the questions that are asked by default are kept in the
store, so that they are shown at once; when something was said, corrected or learned since, the model is asked
anew in the background. What is kept is shown only where the turn that it is from still bears it out.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import NamedTuple, TypeVar

from populace.actors.engine import Engine, GenerateRequest, Message, Sampling
from populace.actors.errors import EngineUnavailable, TurnExpired
from populace.actors.host.retriever import Retriever, exchange_at
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.known import (
    QUESTIONS,
    SURE_MIN,
    Answer,
    Known,
    KnownFact,
    check_sure_min,
    checked_questions,
    known_facts,
    log_questions,
    shown,
    told_questions,
)
from populace.actors.memory import Memory, MemoryChoice
from populace.actors.owner import Owner, Rank
from populace.actors.turn import ChatRequest, ModelId, TurnGrant, TurnRequest, operation_of
from populace.actors.turns.peeks import PeekHost
from populace.actors.turns.told_replies import told_reply
from populace.policies.facts import bears_out
from populace.policies.retrieval import Found, Retrieval, spoken_in
from populace.storage.records.records import HeadRecord, KnownRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import known, ledger
from populace.storage.rows.log import counted_head

T = TypeVar("T")

logger = logging.getLogger(__name__)

ASKED_TOGETHER = 8
TOKENS_MAX = 48
MODELS_TOGETHER = 4
"""At most this many models are asked anew at once; the others wait."""

ASKED_ANEW_MAX = 3
"""At most this often a model is asked that is corrected meanwhile: its answers are not kept then."""


class _Kept(NamedTuple):
    """The facts of a model that are kept, ``position`` None if it was not asked yet.

    They are ``current`` if nothing was said, corrected, forgotten or learned since.
    """

    facts: tuple[KnownFact, ...]
    position: int | None
    current: bool


class Recaller:
    """Asks the models of one host."""

    def __init__(
        self,
        turns: PeekHost,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        retriever: Retriever,
        engine: Engine | None,
    ) -> None:
        self._turns = turns
        self._retriever = retriever
        self._shards = shards
        self._shard_of = shard_of
        self._engine = engine
        self._asking: dict[ModelId, asyncio.Task[None]] = {}
        self._few = asyncio.Semaphore(MODELS_TOGETHER)

    async def known(
        self, model: ModelId, questions: Sequence[str], *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known:
        """See ``Memories.known``. Raises ``EngineUnavailable`` if an engine is needed and there is none."""
        given = checked_questions(questions)
        check_sure_min(sure_min)
        if given:
            turn, facts = await self._ask(model, given)
            return shown(model, given, facts, sure_min, position=turn.position)
        kept = await self._kept(model)
        # The asking that is under way may have begun before the newest turn.
        askings = 2 if wait else 0
        while askings and not kept.current:
            await asyncio.shield(self._begin(model))
            kept, askings = await self._kept(model), askings - 1
        if not kept.current and not wait:
            self._begin(model)
        asked = () if kept.position is None else QUESTIONS
        refreshing = model in self._asking
        return shown(model, asked, kept.facts, sure_min, position=kept.position, refreshing=refreshing)

    def close(self) -> None:
        """Stop asking; who waits for it is cancelled."""
        for asking in self._asking.values():
            asking.cancel()

    def _begin(self, model: ModelId) -> asyncio.Task[None]:
        """Return the task that asks the model anew; it goes on if its caller is cancelled."""
        self._needed_engine()
        asking = self._asking.get(model)
        if asking is None:
            asking = self._asking[model] = asyncio.create_task(self._ask_anew(model))
            asking.add_done_callback(partial(self._note_asked, model))
        return asking

    def _needed_engine(self) -> Engine:
        if self._engine is None:
            raise EngineUnavailable("this host was started without one, and asking takes one")
        return self._engine

    def _note_asked(self, model: ModelId, asking: asyncio.Task[None]) -> None:
        del self._asking[model]
        if not asking.cancelled() and (error := asking.exception()) is not None:
            logger.warning("%s could not be asked what it knows: %s", model, error)

    async def _ask_anew(self, model: ModelId) -> None:
        """Ask the model the common questions and those of its log, and keep the answers."""
        shard = self._shard_of(model)
        async with self._few:
            for _ in range(ASKED_ANEW_MAX):
                asking = secrets.token_bytes(16)
                head = await self._shards.write(shard, partial(_begin_asking, model=model, asking=asking))
                turn, facts = await self._ask(model)
                record = KnownRecord(
                    asking=asking,
                    position=head.log_position,
                    log_bytes=head.log_bytes or 0,
                    made_with=self._made_with(turn),
                    facts=tuple(
                        (fact.question, fact.answer, fact.sure, fact.position, fact.read) for fact in facts
                    ),
                )
                keep = partial(known.keep_known, tenant=model.tenant, name=model.name, record=record)
                if await self._shards.write(shard, keep):
                    return
        raise TurnExpired(model.name, "it was corrected again and again while it was asked")

    async def _kept(self, model: ModelId) -> _Kept:
        """Read what is kept, without the facts that their turns do not bear out any more."""
        made_with = self._made_with(await self._peek(model))

        def read(txn: ReadTransaction) -> _Kept:
            head = counted_head(txn, *model)
            kept = known.read_known(txn, *model)
            if kept is None:
                return _Kept((), None, current=False)
            state = (head.log_position, head.log_bytes, made_with)
            stored = (KnownFact(*row[:4], said="", read=row[4]) for row in kept.facts)
            facts = tuple(fact for one in stored if (fact := _borne_out(txn, model, one)) is not None)
            is_current = (kept.position, kept.log_bytes, kept.made_with) == state
            return _Kept(facts, kept.position, is_current)

        return await self._shards.read_on_thread(self._shard_of(model), read)

    async def _peek(self, model: ModelId) -> TurnGrant:
        return await self._turns.begin_peek(TurnRequest(model, operation_of(None), sha256(b"known").digest()))

    def _made_with(self, turn: TurnGrant) -> str:
        module = None if self._engine is None else self._engine.base.memory_module
        return f"{turn.base} {module} {turn.revision}"

    async def _ask(
        self, model: ModelId, given: Sequence[str] = ()
    ) -> tuple[TurnGrant, tuple[KnownFact, ...]]:
        """Ask the model as it is now; return what it was asked with, and what its turns bear out."""
        engine = self._needed_engine()
        turn = await self._peek(model)
        turns = await self._read_log(model, _said)
        asked = given or (*QUESTIONS, *log_questions(turns))
        told = told_questions(asked, turns)
        read: list[KnownFact] = []
        few = asyncio.Semaphore(ASKED_TOGETHER)

        async def answer(number: int, question: str) -> Answer | None:
            async with few:
                fact = await self._read(engine, turn, number, question, is_told=question in told)
                if fact is not None:
                    read.append(fact)
                    return Answer(question, fact.answer, ())
                return await _answer(engine, turn, number, question) if question in told else None

        answering = [asyncio.ensure_future(answer(*numbered)) for numbered in enumerate(asked)]
        try:
            async with asyncio.timeout(turn.turn_seconds_max):
                answers = await asyncio.gather(*answering)
        except TimeoutError:
            raise TurnExpired(model.name, f"it took over {turn.turn_seconds_max:g} s") from None
        finally:
            for task in answering:
                task.cancel()

        # Read anew: what was forgotten meanwhile is no source.
        def facts(txn: ReadTransaction, model: ModelId) -> tuple[KnownFact, ...]:
            there = tuple(fact for fact in read if _is_correction(txn, model, fact))
            corrected = {fact.question for fact in there}
            left = [answer for answer in answers if answer is not None and answer.question not in corrected]
            return (*there, *known_facts(left, _said(txn, model), {fact.question for fact in read}))

        return turn, await self._read_log(model, facts)

    async def _read_log(self, model: ModelId, question: Callable[[ReadTransaction, ModelId], T]) -> T:
        return await self._shards.read_on_thread(self._shard_of(model), lambda txn: question(txn, model))

    async def _read(
        self, engine: Engine, turn: TurnGrant, number: int, question: str, *, is_told: bool
    ) -> KnownFact | None:
        """Return what the model says because its log has a correction or a telling; None if that has none."""
        asked = (Message("user", question),)
        wanted = Retrieval.of(asked, 0, corrections=True, told=is_told)
        found = Found() if wanted is None else await self._retriever.find(None, turn, wanted)
        if found.correction is not None and found.correction.is_answered_whole:
            source, answer = found.correction, found.correction.answered
        elif found.telling is not None:
            # Each has a request id of its own at the engine.
            grant = replace(turn, grant_id=f"{turn.grant_id}:known:{number}")
            request = ChatRequest(TurnRequest(turn.model, grant.grant_id, b""), asked, Sampling())
            reply = await told_reply(engine, request, grant, found.telling)
            if reply is None:
                return None
            source, answer = found.telling, reply.text
        else:
            return None
        return KnownFact(question, answer, 1.0, source.position, source.said, read=True)


async def _answer(engine: Engine, turn: TurnGrant, number: int, question: str) -> Answer:
    """Ask the model with nothing but its memory and its adapter."""
    messages = (Message("user", question),)
    use = None
    if engine.base.memory_module is not None:
        use = Memory.unpack(turn.memory).use(MemoryChoice(write=False), messages, earlier=0)
    request = GenerateRequest(
        request_id=f"{turn.grant_id}:known:{number}",
        prompt=messages,
        sampling=Sampling(max_tokens=TOKENS_MAX, temperature=0.0, logprobs=1),
        adapter=turn.adapter,
        stream=False,
        memory=use,
        owner=Owner(*turn.model, Rank.BACKGROUND),
    )
    async with aclosing(engine.generate(request)) as deltas:
        parts = [delta async for delta in deltas]
    text, tokens = "".join(part.text for part in parts), [token for part in parts for token in part.logprobs]
    return Answer(question, text, tuple(tokens), parts[-1].finish_reason == "stop")


def _begin_asking(txn: WriteTransaction, *, model: ModelId, asking: bytes) -> HeadRecord:
    known.begin_asking(txn, *model, asking)
    return counted_head(txn, *model)


def _said(txn: ReadTransaction, model: ModelId) -> list[tuple[int, str]]:
    """The position of each turn of the log, with what the person said in it."""
    stored = ledger.read_model(txn, *model)
    if stored is None:  # erased meanwhile
        return []
    head = stored.head
    records = ledger.read_log(txn, *model, start=head.log_start, limit=head.log_position - head.log_start)
    said = [
        (record.position, "\n".join(spoken_in(record.messages)))
        for record in records
        if record.forgotten is None
    ]
    return [(position, text) for position, text in said if text]


def _borne_out(txn: ReadTransaction, model: ModelId, fact: KnownFact) -> KnownFact | None:
    """Return the fact with what was said in its turn; None if that does not bear it out any more."""
    exchange = exchange_at(txn, model, fact.position)
    if exchange is None:
        return None
    if not _is_correction(txn, model, fact):
        # The question may be made from another turn, which is gone.
        is_asked = fact.question in QUESTIONS or fact.question in log_questions([(0, exchange.said)])
        if not is_asked or not bears_out(exchange.said, fact.question, fact.answer):
            return None
    return replace(fact, said=exchange.said)


def _is_correction(txn: ReadTransaction, model: ModelId, fact: KnownFact) -> bool:
    """Return whether the answer is what a reply was corrected to."""
    exchange = exchange_at(txn, model, fact.position)
    return exchange is not None and exchange.is_corrected and exchange.answered == fact.answer
