"""Asks a personal model what it knows of its person, in a turn that is abandoned: nothing is logged."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from hashlib import sha256

from populace.actors.engine import Engine, GenerateRequest, Message, Sampling, TokenLogprob
from populace.actors.errors import EngineUnavailable, TurnExpired
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.known import QUESTIONS, Answer, Known, checked_questions, known_of, log_questions
from populace.actors.memory import Memory, MemoryChoice
from populace.actors.turn import Interaction, ModelId, TurnGrant, TurnRequest, operation_of
from populace.actors.turns.turn_director import TurnHost
from populace.policies.retrieval import spoken_in
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
        engine: Engine | None,
    ) -> None:
        self._turns = turns
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
        try:
            few = asyncio.Semaphore(ASKED_TOGETHER)

            async def answer(number: int, question: str) -> Answer:
                async with few:
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
        return known_of(model, answers, await self._said(model))

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
        owner=turn.model.owner,
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
