"""The turns in the logs of a host's models: found by their operation ids, appended, and read as history."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from populace.actors.clock import Clock
from populace.actors.engine import Message
from populace.actors.forgetting import FORGET_ROLE
from populace.actors.keepers.catalogue import interaction_view
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.span_names import FSYNC
from populace.actors.tracing import Tracer
from populace.actors.turn import FIRST, Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.policies.history import HISTORY_TURNS_MAX, is_same_conversation
from populace.policies.ingestion import shown_later, turn_digest, turn_parts, turn_start
from populace.storage.records.errors import InteractionForgotten, InteractionNotFound, OperationConflict
from populace.storage.records.records import NO_REPLY, InteractionRecord, MemoryRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import forgetting, jobs, ledger, log
from populace.storage.rows.ledger import StoredModel

MEMORY_KEPT_EVERY = 64
"""One turn in this many keeps the memory that it was served with (12 kB): the log can be cut there, and a
replay is never longer."""


THREAD = "thread-"
"""What a conversation is called that a turn begins which follows none, or not the newest of another one."""

MakeReply = Callable[[WriteTransaction], Reply]
"""Runs in a turn's transaction before the turn is appended, and returns its reply. May run more than once."""


class TurnLog:
    """Reads and appends turns. Each call is one read or one group-committed write."""

    def __init__(
        self,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        *,
        clock: Clock,
        operation_seconds_kept: float,
        tracer: Tracer,
    ) -> None:
        self._shards = shards
        self._shard_of = shard_of
        self._clock = clock
        self._tracer = tracer
        self._operation_ms_kept = int(operation_seconds_kept * 1000)

    def find(self, request: TurnRequest) -> Interaction | None:
        """Return the interaction that the operation made if its id is kept and it has a reply, else None.

        Raises ``OperationConflict``, and ``InteractionForgotten`` if that was forgotten since.
        """
        tenant, name = request.model
        shard = self._shard_of(request.model)
        now_ms = self._shards.served_ms(shard)
        with self._shards.read(shard) as transaction:
            found = ledger.find_operation(transaction, tenant, name, request.operation, now_ms=now_ms)
        if found is None:
            return None
        operation, interaction = found
        if interaction.forgotten is not None:
            raise InteractionForgotten(name, interaction.position)
        if not operation.is_of(request.body_hash):
            raise OperationConflict(request.operation)
        if interaction.answer is None:
            return None
        return interaction_view(request.model, interaction, replayed=True)

    async def append(self, grant: TurnGrant, make: MakeReply) -> tuple[InteractionRecord, StoredModel]:
        """Commit the turn durably; return its record in the log, and the model after it.

        Raises what ``make``, ``ledger.commit_turn`` and ``OwnedShards.write`` raise.
        """
        tenant, name = grant.model
        shard = self._shard_of(grant.model)
        now_ms, created_ms = self._shards.served_ms(shard), self._clock.epoch_ms()
        written_s = 0.0

        def append(txn: WriteTransaction) -> tuple[InteractionRecord, StoredModel]:
            nonlocal written_s
            reply = make(txn)
            record = interaction_record(grant, reply, created_ms=created_ms, served_ms=now_ms)
            memory = (
                None
                if reply.memory is None
                else MemoryRecord(version=grant.memory_version + 1, payload=reply.memory.payload)
            )
            interaction = ledger.commit_turn(
                txn,
                tenant,
                name,
                record,
                body_hash=grant.body_hash,
                expected_position=grant.position,
                expires_ms=now_ms + self._operation_ms_kept,
                now_ms=now_ms,
                memory=memory,
            )
            jobs.note_turn(txn, tenant, name, interaction.position)
            own = interaction.messages[turn_start(interaction.messages) :]
            said = (turn_digest(own, interaction.reply), *turn_parts(own, interaction.reply))
            forgetting.tell_anew(txn, tenant, name, *said)
            stored = _stored(txn, grant.model)
            written_s = self._clock.monotonic()
            return interaction, stored

        appended = await self._shards.write(shard, append)
        # The other writes of its batch are in it, and the way back from the thread that commits.
        self._tracer.record(FSYNC, written_s, self._clock.monotonic())
        return appended

    async def withdraw(self, grant: TurnGrant) -> StoredModel:
        """Remove the turn's message from the log, if it has no reply; return the model after that."""

        def withdraw(txn: WriteTransaction) -> StoredModel:
            log.withdraw_turn(txn, *grant.model, grant.operation, grant.body_hash)
            return _stored(txn, grant.model)

        return await self._shards.write(self._shard_of(grant.model), withdraw)

    def completed(self, grant: TurnGrant, follows: int | None = None) -> TurnGrant:
        """Return the grant with the earlier turns of its conversation and the digests of forgotten turns.

        If the newest turn of the log waits for the reply, the grant is of that turn.

        ``follows`` is that of its request. Raises ``InteractionNotFound`` and ``InteractionForgotten`` if
        there is no turn to follow.
        """
        with self._shards.read(self._shard_of(grant.model)) as transaction:
            forgotten = forgetting.forgotten_turns(transaction, *grant.model)
            accepted = ledger.unanswered(transaction, *grant.model, grant.operation, grant.body_hash)
            if accepted is not None:
                grant = replace(grant, position=accepted.position, goes_on=True)
            if follows is not None:
                grant = _following(transaction, grant, follows)
            elif grant.history_of is not None:
                earlier = _earlier(transaction, grant.model, grant.history_of, before=grant.position)
                grant = replace(grant, history=_turns(earlier))
        return replace(grant, forgotten=forgotten)


def _stored(txn: ReadTransaction, model: ModelId) -> StoredModel:
    stored = ledger.read_model(txn, *model)
    assert stored is not None, "a model that a turn was written for exists"
    return stored


def _following(txn: ReadTransaction, grant: TurnGrant, follows: int) -> TurnGrant:
    """Return the grant of a turn that goes on from another one.

    Two that follow the same turn do not see each other. So only the first goes on in its conversation, whose
    newest turns a replay takes for the history; the second begins another one. So does a turn that follows
    one of a conversation with a name of its client's, to which it would be added unasked, and one with a
    history so far back in the log that a turn of the same conversation would not be shown it.
    """
    own = f"{THREAD}{grant.position}"
    if follows == FIRST:
        return replace(grant, history_of=own)
    followed = ledger.read_interaction(txn, *grant.model, follows)
    if followed is None:
        raise InteractionNotFound(grant.model.name, str(follows))
    if followed.forgotten is not None:
        raise InteractionForgotten(grant.model.name, follows)
    conversation = followed.conversation
    shown = [] if conversation is None else _earlier(txn, grant.model, conversation, before=follows)
    if conversation is not None and conversation.startswith(THREAD):
        earlier = _earlier(txn, grant.model, conversation, before=grant.position)
        is_whole = len(earlier) >= min(len(shown) + 1, HISTORY_TURNS_MAX)
        if is_whole and earlier[-1].position == follows:
            return replace(grant, history_of=conversation, history=_turns(earlier))
    # A system message would outlive the turn that it was said in: forgetting a turn leaves those of others.
    brought = (
        tuple(message for message in turn if message.role != "system") for turn in _turns([*shown, followed])
    )
    return replace(grant, history_of=own, brought=tuple(brought))


def _earlier(
    txn: ReadTransaction, model: ModelId, conversation: str, *, before: int
) -> list[InteractionRecord]:
    """The turns of the conversation that a turn at the position ``before`` is shown, oldest first."""
    start = max(0, before - HISTORY_TURNS_MAX)
    records = ledger.read_log(txn, *model, start=start, limit=before - start)
    return [
        record
        for record in records
        if record.position < before and is_same_conversation(record.conversation, conversation)
    ]


def _turns(records: Sequence[InteractionRecord]) -> tuple[tuple[Message, ...], ...]:
    """The messages of each turn but for its own instructions, and its reply."""
    shown = (shown_later(record.messages, record.answer, record.instructions) for record in records)
    return tuple(tuple(Message(*pair) for pair in turn) for turn in shown)


def _memory_kept(grant: TurnGrant, reply: Reply) -> bytes | None:
    """The memory before the turn, if the turn keeps it; for a memory folded anew, the one after it."""
    if grant.position % MEMORY_KEPT_EVERY != 0:
        return None
    is_anew = reply.memory is not None and reply.messages[0].role == FORGET_ROLE
    return reply.memory.payload if is_anew and reply.memory is not None else grant.memory


def interaction_record(
    grant: TurnGrant, reply: Reply, *, created_ms: int, served_ms: int
) -> InteractionRecord:
    trace = None if reply.memory is None else reply.memory.trace
    return InteractionRecord(
        position=grant.position,
        operation=grant.operation,
        completion_id=reply.completion_id,
        messages=tuple((message.role, message.content) for message in reply.messages),
        reply=reply.text,
        finish_reason=reply.finish_reason or NO_REPLY,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        revision=grant.revision,
        base=grant.base,
        memory_version=grant.memory_version,
        created_ms=created_ms,
        served_ms=served_ms,
        conversation=grant.history_of,
        history_turns=reply.history_turns,
        memory_read=trace is not None and trace.read,
        memory_from=None if trace is None else trace.written_from,
        reply_ids=() if trace is None else trace.reply_ids,
        memory=_memory_kept(grant, reply),
        memory_module=None if trace is None else trace.module,
        retrieved=reply.retrieved,
        context_digest=reply.context_digest,
        instructions=reply.instructions,
        note=reply.note,
        memory_after=reply.memory.payload if reply.memory is not None and reply.memory.trace.is_set else None,
    )
