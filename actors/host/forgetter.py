"""Forgets turns of a model: changes its log, its memory and what learned from them in one transaction.

The forgetting is itself a turn of the log, so that nothing is made meanwhile from what is being forgotten, a
retry finds what the first call did, and a reply that was generated before is not committed after.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from populace.actors.clock import Clock
from populace.actors.errors import InvalidRequest, TurnExpired
from populace.actors.feedback import Feedback, feedback_by_position
from populace.actors.forgetting import (
    COMMON_SHARE,
    FOUND_MAX,
    NEAREST_MAX,
    SAID_ROLES,
    TURNS_MAX,
    Forgotten,
    MemoryAfter,
    ShownTurns,
    brought_in,
    log_without,
)
from populace.actors.host.host_turns import HostTurns
from populace.actors.host.memory_keeper import FoldedFrom, MemoryKeeper, Refolded, folded_from
from populace.actors.host.retriever import shown_exchanges
from populace.actors.keepers.catalogue import interaction_view
from populace.actors.keepers.feedback_keeper import feedback_view
from populace.actors.keepers.log_index import LogIndex
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.keepers.turn_log import MakeReply
from populace.actors.memory import Memory
from populace.actors.repeated_words import said_beside, said_here
from populace.actors.turn import Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.actors.turns.setting import setting_reply
from populace.policies.ingestion import Brought
from populace.policies.retrieval import words_of
from populace.storage.records.errors import InteractionNotFound
from populace.storage.records.records import InteractionRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import forgetting, ledger
from populace.storage.rows.feedback import walk_feedback
from populace.storage.rows.forgetting import FORGOTTEN_ROLE, LogWithout

CATCH_UPS_MAX = 3
"""If the log moves on while the memory is computed, what came since is computed this often without holding
the model, and then in the turn."""


class _Plan(NamedTuple):
    """What is to be written, computed from the log as it was at ``without.position``.

    ``memory`` is the memory at that position without the turns, None for a model that has none. ``refolded``
    says from what it was computed.
    """

    without: LogWithout
    log: ShownTurns
    memory: Memory | None
    refolded: Refolded | None


class Forgetter:
    """Serves ``Forgetting`` for the models of one host."""

    def __init__(
        self,
        turns: HostTurns,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        memories: MemoryKeeper,
        found: Callable[[TurnRequest], Interaction | None],
        *,
        clock: Clock,
    ) -> None:
        """``found`` looks for the turn that an operation made."""
        self._turns = turns
        self._shards = shards
        self._shard_of = shard_of
        self._memories = memories
        self._found = found
        self._clock = clock

    async def find(self, model: ModelId, words: str) -> Forgotten:
        wanted = words_of(words)
        if not wanted:
            raise InvalidRequest("Name a turn by words that were said in it.", "query")

        def search(txn: ReadTransaction) -> Forgotten:
            return _found_in(txn, model, wanted)

        return await self._shards.read_on_thread(self._shard_of(model), search)

    async def forget(
        self,
        model: ModelId,
        what: str | Sequence[int],
        operation: str,
        *,
        memory: MemoryAfter = "folded",
        turn_seconds_max: float = 120.0,
    ) -> Forgotten:
        named = what if isinstance(what, str) else sorted(set(what))
        digest = hashlib.sha256(json.dumps(["forget", named, memory]).encode()).digest()
        request = TurnRequest(model, operation, digest, turn_seconds_max=turn_seconds_max)
        done = self._found(request)
        if done is not None:
            return Forgotten.of(done)
        wanted, also = await self._positions(model, named)
        now_ms = self._clock.epoch_ms()

        def planned(before: _Plan | None) -> Awaitable[_Plan | None]:
            return self._plan(model, wanted, memory, before, now_ms=now_ms)

        # The memory is computed before the turn begins, if possible: no turn waits for a long replay.
        plan = await planned(None)
        for left in reversed(range(CATCH_UPS_MAX + 1)):
            if plan is None:
                break
            turn = await self._turns.begin_turn(request)
            if isinstance(turn, Interaction):
                return Forgotten.of(turn)
            try:
                if turn.position != plan.without.position and left == 0:
                    plan = await _in_time(turn, planned(plan))
                if plan is not None and turn.position == plan.without.position:
                    made = self._made(turn, plan, wanted, also, memory)
                    return Forgotten.of(await self._turns.finish_made(turn, made))
            finally:
                await asyncio.shield(self._turns.abandon_turn(turn, "nothing was forgotten"))
            if left:
                plan = await planned(plan)
        return Forgotten(model, already=wanted)  # another call was first

    async def _positions(
        self, model: ModelId, named: str | Sequence[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the turns that are named, and others that have the same words."""
        if isinstance(named, str):
            found = await self.find(model, named)
            if not found.found:
                raise InvalidRequest(
                    "No turn has all of these words. Nothing was forgotten: name turns by their positions.",
                    "query",
                )
            return found.found_at, found.repeated
        if not 1 <= len(named) <= TURNS_MAX:
            raise InvalidRequest(f"Name 1 to {TURNS_MAX} turns to forget, not {len(named)}.", "positions")
        return tuple(named), ()

    async def _plan(
        self,
        model: ModelId,
        wanted: tuple[int, ...],
        memory: MemoryAfter,
        before: _Plan | None,
        *,
        now_ms: int,
    ) -> _Plan | None:
        """Compute log and memory without the turns; None if all of them are forgotten already.

        Of the memory that was computed ``before`` only what came since is.
        """

        shared = self._memories.shared(model.tenant)

        def read(txn: ReadTransaction) -> tuple[ShownTurns, FoldedFrom] | None:
            records = _checked_log(txn, model, wanted)
            left = frozenset(record.position for record in records if record.forgotten is None)
            positions = left.intersection(wanted)
            if not positions:
                return None
            contexts = {
                record.position: shown_exchanges(txn, model, record) for record in records if record.retrieved
            }
            log = log_without(records, positions, contexts, _feedback_in(txn, model), now_ms=now_ms)
            after = {record.position: log.changed.get(record.position, record) for record in records}
            return log, folded_from(txn, model, after, log.positions, log.contexts, shared)

        found = await self._shards.read_on_thread(self._shard_of(model), read)
        if found is None:
            return None
        log, source = found
        refolded = None
        if source.stored.memory is not None:
            done = None if before is None else before.refolded
            refolded = await self._memories.refolded(source, memory, done)
        changed = {**log.changed, **(refolded.changed if refolded is not None else {})}
        without = LogWithout(source.stored.head.log_position, log.positions, changed, log.turns)
        return _Plan(without, log, None if refolded is None else refolded.memory, refolded)

    def _made(
        self,
        turn: TurnGrant,
        plan: _Plan,
        wanted: tuple[int, ...],
        also: tuple[int, ...],
        memory: MemoryAfter,
    ) -> MakeReply:
        """Return what the turn does in its transaction, which also makes its reply."""
        model, without = turn.model, plan.without
        repeated = {*plan.log.repeated, *also} - without.positions - set(plan.log.shown)
        now_ms = self._clock.epoch_ms()

        def make(txn: WriteTransaction) -> Reply:
            given_up = forgetting.forget_turns(txn, *model, without, now_ms=now_ms)
            told = Forgotten(
                model,
                positions=tuple(sorted(without.positions)),
                already=tuple(position for position in wanted if position not in without.positions),
                shown=plan.log.shown,
                repeated=tuple(sorted(repeated)),
                revisions=given_up.revisions,
                jobs=given_up.jobs,
                aliases=tuple(sorted(given_up.aliases.items())),
                memory=None if plan.memory is None else memory,
            )
            return setting_reply(turn, told.message(), plan.memory)

        return make


async def _in_time(turn: TurnGrant, planned: Awaitable[_Plan | None]) -> _Plan | None:
    """Wait for the plan until the turn's deadline. Raises ``TurnExpired``."""
    try:
        async with asyncio.timeout(turn.turn_seconds_max):
            return await planned
    except TimeoutError:
        late = "the model was in use, and its memory could not be computed in time. Try again when it is not"
        raise TurnExpired(turn.model.name, late) from None


def _checked_log(txn: ReadTransaction, model: ModelId, wanted: Sequence[int]) -> list[InteractionRecord]:
    """Read the whole log; raise unless something was said at each of the wanted positions."""
    head = ledger.read_head(txn, *model)
    records = ledger.read_log(txn, *model, start=head.log_start, limit=head.log_position - head.log_start)
    by_position = {record.position: record for record in records}
    for position in wanted:
        if position not in by_position:
            raise InteractionNotFound(model.name, str(position))
        role = by_position[position].messages[0][0]
        if role in SAID_ROLES and role != FORGOTTEN_ROLE:
            raise InvalidRequest(
                f"In turn {position} nothing was said that could be forgotten.",
                "positions",
            )
    return records


def _found_in(txn: ReadTransaction, model: ModelId, wanted: Sequence[str]) -> Forgotten:
    """Search for the words in messages, replies, corrections and the metadata of responses."""
    head = ledger.read_head(txn, *model)
    records = ledger.read_log(txn, *model, start=head.log_start, limit=head.log_position - head.log_start)
    said = [record for record in records if record.messages[0][0] not in SAID_ROLES]
    given = _feedback_in(txn, model)
    brought = brought_in(records)
    words = {
        record.position: _words(brought[record.position], record, given.get(record.position, ()))
        for record in said
    }
    all_of_them = [record for record in said if set(wanted) <= set(words[record.position])]
    if len(all_of_them) > FOUND_MAX:
        raise InvalidRequest(
            f"{len(all_of_them)} turns have these words, and at most {FOUND_MAX} are looked at: "
            "say more, or name the turns by their positions.",
            "query",
        )
    if all_of_them or not said:
        found = tuple(interaction_view(model, record) for record in all_of_them)
        return Forgotten(model, found=found, repeated=_repeated(said, words, wanted))
    by_position = {record.position: record for record in said}
    turns = [(position, words[position]) for position in sorted(words)]
    index = LogIndex().extended(turns, start=head.log_start, end=head.log_position).counted()
    often = Counter(word for of_turn in words.values() for word in set(of_turn))
    telling = {word for word in wanted if often[word] <= max(1, len(words) * COMMON_SHARE)}
    nearest = [position for position in index.ranked(wanted) if telling & set(words[position])]
    near = tuple(interaction_view(model, by_position[position]) for position in nearest[:NEAREST_MAX])
    return Forgotten(model, near=near)


def _repeated(
    said: Sequence[InteractionRecord], words: Mapping[int, Sequence[str]], wanted: Sequence[str]
) -> tuple[int, ...]:
    """Return the turns that have all of the words, but not in what they brought."""

    def has_all(record: InteractionRecord) -> bool:
        here = words_of("\n".join(content for _, content in said_here(record)))
        return set(wanted) <= {*words[record.position], *here}

    return tuple(
        record.position
        for record in said
        if not set(wanted) <= set(words[record.position]) and has_all(record)
    )


def _feedback_in(txn: ReadTransaction, model: ModelId) -> dict[int, list[Feedback]]:
    return feedback_by_position(feedback_view(model, feedback) for feedback in walk_feedback(txn, *model))


def _words(brought: Brought, record: InteractionRecord, given: Sequence[Feedback]) -> list[str]:
    said = [content for _, content in brought.messages]
    return words_of("\n".join([*said, record.reply, *said_beside(record, given)]))
