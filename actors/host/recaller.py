"""Asks a personal model what it knows of its person, in a turn that is given back: nothing is logged."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from hashlib import sha256

from populace.actors.engine import Engine, GenerateRequest, Message, Sampling
from populace.actors.errors import EngineUnavailable, TurnExpired
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.known import Answer, Known, checked_questions, known_of
from populace.actors.memory import Memory, MemoryChoice
from populace.actors.turn import Interaction, ModelId, TurnGrant, TurnRequest, operation_of
from populace.actors.turns.turn_director import TurnHost
from populace.policies.retrieval import spoken_in
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import ledger

ASKED_TOGETHER = 8
TOKENS_MAX = 48


class Recaller:
    """Asks the models of a host."""

    def __init__(
        self,
        host: TurnHost,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        engine: Engine | None,
    ) -> None:
        self._host = host
        self._shards = shards
        self._shard_of = shard_of
        self._engine = engine

    async def known(self, model: ModelId, questions: Sequence[str]) -> Known:
        """See ``Memories.known``. Raises ``EngineUnavailable`` on a host without an engine."""
        asked = checked_questions(questions)
        engine = self._engine
        if engine is None:
            raise EngineUnavailable("this host was started without one, and asking takes one")
        digest = sha256(b"known").digest()
        turn = await self._host.begin_turn(TurnRequest(model, operation_of(None), digest))
        assert not isinstance(turn, Interaction), "no turn has an operation id that was just drawn"
        try:
            few = asyncio.Semaphore(ASKED_TOGETHER)

            async def answer(number: int, question: str) -> Answer:
                async with few:
                    return await _answer(engine, turn, number, question)

            answering = [asyncio.ensure_future(answer(*numbered)) for numbered in enumerate(asked)]
            try:
                async with asyncio.timeout(turn.turn_seconds_max):
                    answers = await asyncio.gather(*answering)
            except TimeoutError:
                raise TurnExpired(model.name, f"it took over {turn.turn_seconds_max:g} s") from None
            finally:
                for one in answering:
                    one.cancel()
        finally:
            await asyncio.shield(self._host.abandon_turn(turn, "nothing of it is logged"))
        said = await self._shards.read_on_thread(self._shard_of(model), lambda txn: _said(txn, model))
        return known_of(model, answers, said)


async def _answer(engine: Engine, turn: TurnGrant, number: int, question: str) -> Answer:
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
        owner=turn.model.owner,
    )
    async with aclosing(engine.generate(request)) as deltas:
        parts = [delta async for delta in deltas]
    text = "".join(part.text for part in parts)
    return Answer(question, text, tuple(token for part in parts for token in part.logprobs))


def _said(txn: ReadTransaction, model: ModelId) -> list[tuple[int, str]]:
    """What the person said in each turn of the log, with its position."""
    stored = ledger.read_model(txn, *model)
    if stored is None:  # erased meanwhile
        return []
    head = stored.head
    records = ledger.read_log(txn, *model, start=head.log_start, limit=head.log_position - head.log_start)
    said = [(one.position, " ".join(spoken_in(one.messages))) for one in records if one.forgotten is None]
    return [(position, text) for position, text in said if text]
