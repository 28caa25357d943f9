"""Asks a personal model what it knows of its person, in a turn that is abandoned: nothing is logged.

Each question is asked as in a chat, where the log has a correction of the answer or a turn that tells it, and
of the memory and the adapter alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256

from populace.actors.engine import Engine, GenerateRequest, Message, Sampling, TokenLogprob
from populace.actors.errors import EngineUnavailable, TurnExpired
from populace.actors.host.retriever import Retriever
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.known import (
    QUESTIONS,
    Answer,
    Known,
    KnownFact,
    checked_questions,
    known_of,
    log_questions,
)
from populace.actors.memory import Memory, MemoryChoice
from populace.actors.owner import Owner, Rank
from populace.actors.turn import ChatRequest, Interaction, ModelId, TurnGrant, TurnRequest, operation_of
from populace.actors.turns.told_replies import told_reply
from populace.actors.turns.turn_director import TurnHost
from populace.policies.retrieval import Found, Retrieval, spoken_in
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import ledger

ASKED_TOGETHER = 8
TOKENS_MAX = 48


class Recaller:
    """Asks the models of one host."""

    def __init__(
        self,
        turns: TurnHost,
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
        self._base_texts: dict[str, str] = {}
        """The base's replies to the common questions: the same for all models, so generated once."""

    async def known(self, model: ModelId, questions: Sequence[str]) -> Known:
        """See ``Memories.known``. Raises ``EngineUnavailable`` on a host without an engine."""
        given = checked_questions(questions)
        engine = self._engine
        if engine is None:
            raise EngineUnavailable("this host was started without one, and asking takes one")
        asked = given or (*QUESTIONS, *log_questions(await self._said(model)))
        digest = sha256(b"known").digest()
        turn = await self._turns.begin_turn(TurnRequest(model, operation_of(None), digest))
        assert not isinstance(turn, Interaction), "no turn has an operation id that was just drawn"
        read: list[KnownFact] = []
        try:
            few = asyncio.Semaphore(ASKED_TOGETHER)

            async def answer(number: int, question: str) -> Answer:
                async with few:
                    fact = await self._read(engine, turn, number, question)
                    if fact is not None:
                        read.append(fact)
                        return Answer(question, fact.answer, (), "")
                    text, tokens, whole = await _answer(engine, turn, number, question)
                    base_text = self._base_texts.get(question)
                    if base_text is None:
                        base_text, *_ = await _answer(engine, turn, number, question, of_base=True)
                    if question in QUESTIONS:
                        self._base_texts[question] = base_text
                    return Answer(question, text, tokens, base_text, whole)

            answering = [asyncio.ensure_future(answer(*numbered)) for numbered in enumerate(asked)]
            try:
                async with asyncio.timeout(turn.turn_seconds_max):
                    answers = await asyncio.gather(*answering)
            except TimeoutError:
                raise TurnExpired(model.name, f"it took over {turn.turn_seconds_max:g} s") from None
            finally:
                for task in answering:
                    task.cancel()
        finally:
            await asyncio.shield(self._turns.abandon_turn(turn, "nothing of it is logged"))
        # Read anew: what was forgotten meanwhile is no source.
        return known_of(model, answers, await self._said(model), read)

    async def _read(self, engine: Engine, turn: TurnGrant, number: int, question: str) -> KnownFact | None:
        """Return what the model says because its log has a correction or a telling; None if that has none."""
        asked = (Message("user", question),)
        wanted = Retrieval.of(asked, 0, corrections=True, told=True)
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

    async def _said(self, model: ModelId) -> list[tuple[int, str]]:
        return await self._shards.read_on_thread(self._shard_of(model), lambda txn: _said(txn, model))


async def _answer(
    engine: Engine, turn: TurnGrant, number: int, question: str, *, of_base: bool = False
) -> tuple[str, tuple[TokenLogprob, ...], bool]:
    """Ask the model, or the base by itself; return the reply, its tokens, and whether it ended by itself."""
    messages = (Message("user", question),)
    use = None
    if engine.base.memory_module is not None and not of_base:
        use = Memory.unpack(turn.memory).use(MemoryChoice(write=False), messages, earlier=0)
    request = GenerateRequest(
        request_id=f"{turn.grant_id}:known:{number}{':base' if of_base else ''}",
        prompt=messages,
        sampling=Sampling(max_tokens=TOKENS_MAX, temperature=0.0, logprobs=1),
        adapter=None if of_base else turn.adapter,
        stream=False,
        memory=use,
        owner=Owner(*turn.model, Rank.BACKGROUND),
    )
    async with aclosing(engine.generate(request)) as deltas:
        parts = [delta async for delta in deltas]
    text, tokens = "".join(part.text for part in parts), [token for part in parts for token in part.logprobs]
    return text, tuple(tokens), parts[-1].finish_reason == "stop"


def _said(txn: ReadTransaction, model: ModelId) -> list[tuple[int, str]]:
    """The position of each turn of the log, with what the person said in it."""
    stored = ledger.read_model(txn, *model)
    if stored is None:  # erased meanwhile
        return []
    head = stored.head
    records = ledger.read_log(txn, *model, start=head.log_start, limit=head.log_position - head.log_start)
    said = [
        (record.position, " ".join(spoken_in(record.messages)))
        for record in records
        if record.forgotten is None
    ]
    return [(position, text) for position, text in said if text]
