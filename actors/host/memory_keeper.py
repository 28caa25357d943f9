"""Treats the memory as a fold over the log: reads it as of any position, and sets it back to one."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from populace.actors.context import with_context
from populace.actors.engine import AdapterRef, Engine, GenerateRequest, MemoryUse, Message, Prompt, Sampling
from populace.actors.errors import EngineUnavailable, InvalidRequest, MemoryStateInvalid, MemoryStateMismatch
from populace.actors.forgetting import FORGET_ROLE, MemoryAfter
from populace.actors.host.recaller import Recaller
from populace.actors.host.retriever import Retriever, shown_exchanges
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.keepers.turn_log import MEMORY_KEPT_EVERY
from populace.actors.known import SURE_MIN, Known
from populace.actors.memories import MemoryView, writes_in
from populace.actors.memory import MEMORY_ROLE, Memory, restored, restoring
from populace.actors.owner import Owner
from populace.actors.turn import RAW_ROLE, Interaction, ModelId, TurnRequest
from populace.actors.turns.peeks import TurnAndPeekHost
from populace.actors.turns.setting import setting_reply
from populace.policies.history import HISTORY_TURNS_MAX, is_same_conversation, with_history
from populace.policies.ingestion import TURNS_KNOWN_MAX, first_new, shown_later, turn_digest, with_turn
from populace.policies.retrieval import Exchange
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.records import HeadRecord, InteractionRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows import forgetting, ledger, log
from populace.storage.rows.ledger import StoredModel


def emptied(txn: ReadTransaction, model: ModelId, payload: bytes | None) -> Memory:
    """Empty the model's packed memory, also one that cannot be read: its turns are then those of the log.

    Raises ``ModelNotFound``.
    """
    try:
        return replace(Memory.unpack(payload), state=None)
    except MemoryStateInvalid:
        start = max(0, ledger.read_head(txn, *model).log_position - TURNS_KNOWN_MAX)
        records = ledger.read_log(txn, *model, start=start, limit=TURNS_KNOWN_MAX)
        return Memory(turns=tuple(map(logged_digest, records)))


def logged_digest(record: InteractionRecord) -> bytes:
    """Return the digest of a turn in the log, also if it was forgotten."""
    if record.forgotten is not None:
        return record.forgotten[1]
    return turn_digest(record.messages, record.reply)


WRITES_SHOWN_MAX = 32


class _Stretch(NamedTuple):
    """The part of the model's log between a stored memory and a wanted position.

    ``records`` begin with up to ``HISTORY_TURNS_MAX`` from before ``start``: the histories of the first
    turns. ``versions`` has the memory's version before each position of the stretch, and after the last.
    ``shown`` is what was retrieved for each of its turns, None where that is not known any more.
    ``revisions`` are those that the model and its community have: a turn whose revision is gone is replayed
    on the base alone.
    """

    model: ModelId
    memory: Memory
    start: int
    records: Mapping[int, InteractionRecord]
    versions: list[int]
    shown: Mapping[int, tuple[Exchange, ...] | None]
    revisions: frozenset[str]

    @property
    def end(self) -> int:
        return self.start + len(self.versions) - 1


class FoldedFrom(NamedTuple):
    """The input of folding a memory again: the ``stretch`` begins at or before the turn ``first``.

    ``stretch`` is of the log as it will be from then on.
    """

    stored: StoredModel
    stretch: "_Stretch"
    first: int


class Refolded(NamedTuple):
    """A memory that was folded again from ``source``, and changed records of turns that store a memory."""

    source: FoldedFrom
    memory: Memory
    changed: dict[int, InteractionRecord]


class MemoryKeeper:
    """Serves ``Memories`` for the models of one host.

    A replay needs an engine, and takes as long as it took to read the turns.
    """

    def __init__(
        self,
        turns: TurnAndPeekHost,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        adapter_of: Callable[[str], AdapterRef],
        retriever: Retriever,
        engine: Engine | None,
        found: Callable[[TurnRequest], Interaction | None],
        shared: Callable[[str], frozenset[str]],
    ) -> None:
        """``found`` looks for the turn that an operation made, ``shared`` for a tenant's shared revisions."""
        self.shared = shared
        self._turns = turns
        self._found = found
        self._shards = shards
        self._shard_of = shard_of
        self._recaller = Recaller(turns, shards, shard_of, retriever, engine)
        self._adapter_of = adapter_of
        self._engine = engine

    async def known(
        self, model: ModelId, questions: Sequence[str], *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known:
        return await self._recaller.known(model, questions, sure_min=sure_min, wait=wait)

    def close(self) -> None:
        """Stop asking in the background."""
        self._recaller.close()

    async def show(self, model: ModelId, position: int | None = None) -> MemoryView:
        """Read the memory after ``[0, position)``, None for now, with the newest writes before it."""
        with self._shards.read(self._shard_of(model)) as transaction:
            stored = _stored(ledger.read_model(transaction, *model), model)
            end = stored.head.log_position if position is None else position
            start = max(stored.head.log_start, end - WRITES_SHOWN_MAX)
            records = (
                ledger.read_log(transaction, *model, start=start, limit=end - start) if end > start else ()
            )
        stretch = self._stretch(model, end)
        memory = await self._folded(stretch)
        return MemoryView(model, stretch.versions[-1], memory.state, writes_in(records))

    async def at(self, model: ModelId, position: int) -> Memory:
        """Compute the memory after ``[0, position)`` from the nearest stored one before.

        Replies are replayed and not sampled, so the result is the memory that the turns left: to the bit on
        the reference engine with a batch of one, and up to rounding otherwise.

        Raises:
            InvalidRequest: the log does not reach that position, or what the replay needs was compacted.
            MemoryStateMismatch: the turns or the stored memory are of another memory module.
        """
        return await self._folded(self._stretch(model, position))

    async def restore(
        self, model: ModelId, position: int | None, operation: str, *, turn_seconds_max: float = 120.0
    ) -> Interaction:
        """Set the memory to what it was after ``[0, position)``, as a turn of the log; None empties it.

        One that cannot be read can be emptied too. The turn begins after that memory is computed, so that no
        turn waits for a long replay. Raises as ``at``.
        """
        digest = hashlib.sha256(f"restore {position}".encode()).digest()
        request = TurnRequest(model, operation, digest, turn_seconds_max=turn_seconds_max)
        done = self._found(request)
        if done is not None:
            return done
        memory = None if position is None else await self.at(model, position)
        turn = await self._turns.begin_turn(request)
        if isinstance(turn, Interaction):
            return turn
        try:
            if memory is None:
                with self._shards.read(self._shard_of(model)) as transaction:
                    memory = emptied(transaction, model, turn.memory)
            return await self._turns.finish_turn(turn, setting_reply(turn, restoring(position), memory))
        except BaseException:
            await asyncio.shield(self._turns.abandon_turn(turn, "the memory was not set"))
            raise

    async def refolded(
        self, source: FoldedFrom, how: MemoryAfter, earlier: Refolded | None = None
    ) -> Refolded:
        """Fold the memory again from the turn ``source.first`` on, and every memory that the log keeps since.

        What was folded ``earlier`` is not folded again if only turns were added to its log. ``emptied`` needs
        no engine. Raises as ``at``.
        """
        first, records = source.first, dict(source.stretch.records)
        stretch = source.stretch._replace(records=records)
        if how == "folded" and earlier is not None and _goes_on(source, earlier.source):
            skipped = earlier.source.stretch.end - stretch.start
            rest = stretch._replace(
                memory=earlier.memory, start=stretch.start + skipped, versions=stretch.versions[skipped:]
            )
            added = await self.refolded(source._replace(stretch=rest), how)
            return Refolded(source, added.memory, {**earlier.changed, **added.changed})
        targets = {_set_to(record) for record in stretch.records.values() if record.memory_after is not None}
        states: dict[int | None, Memory] = {}
        changed: dict[int, InteractionRecord] = {}
        memory = stretch.memory
        for place, (before, after) in enumerate(itertools.pairwise(stretch.versions), start=stretch.start):
            record = stretch.records[place]
            if place in targets:
                states[place] = memory
            changes: dict[str, object] = {}
            if place > first and (begins := _written_from(record, memory)) != record.memory_from:
                changes["memory_from"] = begins
                records[place] = record.model_copy(update=changes)
            if place > first and record.memory is not None:
                changes["memory"] = memory.pack()
            if place > first and record.memory_after is not None:
                memory = _set_again(record, memory, states, first)
                if how == "emptied":
                    memory = replace(memory, state=None)
                changes["memory_after"] = memory.pack()
            elif before != after and how == "emptied":
                memory = replace(memory, state=None, turns=with_turn(memory.turns, logged_digest(record)))
            elif before != after:
                memory = await self._after(memory, stretch, place)
            if changes:
                changed[place] = record.model_copy(update=changes)
        return Refolded(source, memory if how == "folded" else replace(memory, state=None), changed)

    def _stretch(self, model: ModelId, position: int) -> _Stretch:
        shared = self.shared(model.tenant)
        with self._shards.read(self._shard_of(model)) as transaction:
            stored = _stored(ledger.read_model(transaction, *model), model)
            head = stored.head
            live = _revisions(transaction, model) | shared
            if not head.log_start <= position <= head.log_position:
                kept = f"the log is kept from {head.log_start} to {head.log_position}"
                raise InvalidRequest(f"There is no memory of position {position}: {kept}.", "position")
            start, record = log.stored_memory(transaction, stored, position)
            first = max(head.log_start, start - HISTORY_TURNS_MAX)
            count = position + 1 - first
            records = ledger.read_log(transaction, *model, start=first, limit=count) if count > 0 else ()
            shown = {
                logged.position: shown_exchanges(transaction, model, logged)
                for logged in records
                if logged.position >= start and logged.retrieved
            }
        by_position = {logged.position: logged for logged in records}
        payload = None if record is None else record.payload
        versions = _versions(head, by_position, start, position)
        return _Stretch(model, Memory.unpack(payload), start, by_position, versions, shown, live)

    async def _folded(self, stretch: _Stretch) -> Memory:
        memory = stretch.memory
        for place, (before, after) in enumerate(itertools.pairwise(stretch.versions), start=stretch.start):
            if before != after:
                memory = await self._after(memory, stretch, place)
        return memory

    async def _after(self, memory: Memory, stretch: _Stretch, place: int) -> Memory:
        record = stretch.records[place]
        if record.memory_after is not None:
            return Memory.unpack(record.memory_after)
        if record.forgotten is not None:  # not written now, nor when the client sends the turn again
            return replace(memory, turns=with_turn(memory.turns, record.forgotten[1]))
        own = [Message(*pair) for pair in record.messages]
        messages = tuple(with_history(_history(stretch.records, place), own, record.instructions))
        state = None
        if record.memory_from is not None:
            exchanges = stretch.shown.get(place, ())
            if exchanges is None:
                raise InvalidRequest(
                    f"Turn {place} cannot be replayed: what was retrieved for it is not there as it was.",
                    "position",
                )
            is_live = record.revision in stretch.revisions
            adapter = self._adapter_of(record.revision) if is_live else None
            owner = Owner(*stretch.model)
            state = await self._said_again(record, messages, exchanges, memory, adapter, owner)
        return memory.after(own, record.reply, state)

    async def _said_again(
        self,
        record: InteractionRecord,
        messages: tuple[Message, ...],
        exchanges: Sequence[Exchange],
        memory: Memory,
        adapter: AdapterRef | None,
        owner: Owner,
    ) -> bytes | None:
        if self._engine is None:
            raise EngineUnavailable("this host was started without one, and a replay takes one")
        if record.base != self._engine.base.fingerprint:
            raise InvalidRequest(f"Turn {record.position} was made with another base.", "position")
        if record.memory_module != self._engine.base.memory_module:
            raise MemoryStateMismatch(f"turn {record.position} was written with another memory module")
        is_raw = record.messages[0][0] == RAW_ROLE
        told = with_context(messages, exchanges)
        prompt: Prompt = record.messages[0][1] if is_raw else told
        use = MemoryUse(memory.state, record.memory_read, record.memory_from)
        request = GenerateRequest(
            request_id=f"replay-{record.completion_id}",
            prompt=prompt,
            sampling=Sampling(temperature=0.0),
            adapter=adapter,
            stream=False,
            memory=use.after(len(told) - len(messages)),
            reply_ids=record.reply_ids,
            owner=owner,
        )
        state: bytes | None = None
        async with aclosing(self._engine.generate(request)) as deltas:
            async for delta in deltas:
                state = delta.memory
        return state


def _written_from(record: InteractionRecord, memory: Memory) -> int | None:
    """Return the first message that a turn writes, now that a turn before it is forgotten.

    The forgotten one may have written what another had brought, which had no reply and so wrote nothing: that
    is in the messages of a client that sends its history, and the next turn with a reply writes it.
    """
    if record.memory_from is None or record.history_turns:
        return record.memory_from
    return min(record.memory_from, first_new(record.messages, frozenset(memory.turns)))


def folded_from(
    txn: ReadTransaction,
    model: ModelId,
    records: Mapping[int, InteractionRecord],
    positions: frozenset[int],
    shown: Mapping[int, tuple[Exchange, ...] | None],
    shared: frozenset[str],
) -> FoldedFrom:
    """Read what the memory is folded from again, without the turns at ``positions``.

    ``records`` is the whole log without those turns, ``shown`` what was retrieved for its turns, ``shared``
    are the revisions of the community.
    """
    stored = _stored(ledger.read_model(txn, *model), model)
    first = min(positions)
    start, record = log.stored_memory(txn, stored, first)
    revisions = ledger.list_revisions(txn, *model)
    live = shared | _revisions(txn, model) - forgetting.touched_revisions(revisions, positions)
    stretch = _Stretch(
        model,
        Memory.unpack(None if record is None else record.payload),
        start,
        records,
        _versions(stored.head, records, start, stored.head.log_position),
        shown,
        live,
    )
    return FoldedFrom(stored, stretch, first)


def _goes_on(source: FoldedFrom, before: FoldedFrom) -> bool:
    """Whether the log is the one before with turns added to it, none of which set the memory."""
    new, old = source.stretch, before.stretch
    return (
        (source.first, new.start, new.memory, new.revisions)
        == (before.first, old.start, old.memory, old.revisions)
        and old.records.items() <= new.records.items()
        and all(new.shown.get(place) == shown for place, shown in old.shown.items())
        and all(new.records[place].memory_after is None for place in range(old.end, new.end))
    )


def _revisions(txn: ReadTransaction, model: ModelId) -> frozenset[str]:
    return frozenset(revision.digest for revision in ledger.list_revisions(txn, *model))


def _versions(head: HeadRecord, records: Mapping[int, InteractionRecord], start: int, end: int) -> list[int]:
    """The memory's version before each position of ``[start, end)``, and after the last."""
    return [
        records[place].memory_version if place in records else head.memory_version
        for place in range(start, end + 1)
    ]


def _set_to(record: InteractionRecord) -> int | None:
    """The position that the turn set the memory back to, None if it emptied it or folded it again."""
    role, content = record.messages[0]
    return restored(content) if role == MEMORY_ROLE else None


def _set_again(
    record: InteractionRecord, memory: Memory, states: Mapping[int | None, Memory], first: int
) -> Memory:
    """The memory after a turn that set the memory, when that is folded again from the turn ``first`` on."""
    assert record.memory_after is not None
    if record.messages[0][0] == FORGET_ROLE:
        is_emptied = json.loads(record.messages[0][1]).get("memory") == "emptied"
        return replace(memory, state=None) if is_emptied else memory
    target = _set_to(record)
    if target is None or target <= first:
        return Memory.unpack(record.memory_after)
    return states[target]


def _stored(found: StoredModel | None, model: ModelId) -> StoredModel:
    if found is None:
        raise ModelNotFound(model.name)
    return found


def _history(records: Mapping[int, InteractionRecord], place: int) -> list[list[Message]]:
    """The earlier turns that the turn read. Raises ``InvalidRequest`` if they are gone."""
    record = records[place]
    wanted: list[InteractionRecord] = []
    for earlier in range(place - 1, place - HISTORY_TURNS_MAX - 1, -1):
        if len(wanted) == record.history_turns:
            break
        other = records.get(earlier)
        if other is not None and is_same_conversation(other.conversation, record.conversation):
            wanted.append(other)
    if len(wanted) < record.history_turns:
        raise InvalidRequest(
            f"Turn {place} cannot be replayed: the log dropped {record.history_turns - len(wanted)} of the "
            f"turns that it was shown. Positions after the next stored memory, at most "
            f"{MEMORY_KEPT_EVERY} turns later, can be.",
            "position",
        )
    return [
        [Message(*pair) for pair in shown_later(other.messages, other.answer, other.instructions)]
        for other in reversed(wanted)
    ]
