"""The turns in the logs of a host's models: found by their operation ids, appended, and read as history."""

from collections.abc import Callable

from populace.actors.catalogue import interaction_view
from populace.actors.clock import Clock
from populace.actors.engine import Message
from populace.actors.owned_shards import OwnedShards
from populace.actors.turn import Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.storage import ledger
from populace.storage.errors import OperationConflict
from populace.storage.ledger import StoredModel
from populace.storage.records import InteractionRecord, MemoryRecord
from populace.storage.transaction import WriteTransaction

HISTORY_TURNS_MAX = 64
"""Earlier turns that a grant carries at most; the prompt takes as many of them as fit."""


MEMORY_KEPT_EVERY = 64
"""One turn in so many keeps the memory that it was served with (12 kB): the log can be cut there, and a
replay is never longer."""


class TurnLog:
    """Each call is one read or one group-committed write."""

    def __init__(
        self,
        shards: OwnedShards,
        shard_of: Callable[[ModelId], int],
        *,
        clock: Clock,
        operation_seconds_kept: float,
    ) -> None:
        self._shards = shards
        self._shard_of = shard_of
        self._clock = clock
        self._operation_ms_kept = int(operation_seconds_kept * 1000)

    def find(self, request: TurnRequest) -> Interaction | None:
        """Return what the operation made if its id is kept, else None. Raises ``OperationConflict``."""
        tenant, name = request.model
        shard = self._shard_of(request.model)
        now_ms = self._shards.served_ms(shard)
        with self._shards.read(shard) as transaction:
            found = ledger.find_operation(transaction, tenant, name, request.operation, now_ms=now_ms)
        if found is None:
            return None
        operation, interaction = found
        if operation.body_hash != request.body_hash:
            raise OperationConflict(request.operation)
        return interaction_view(request.model, interaction, replayed=True)

    async def append(self, grant: TurnGrant, reply: Reply) -> tuple[InteractionRecord, StoredModel]:
        """Commit the turn durably; answers what the log has, and the model as it is then.

        Raises what ``ledger.commit_turn`` and ``OwnedShards.write`` raise.
        """
        tenant, name = grant.model
        shard = self._shard_of(grant.model)
        now_ms = self._shards.served_ms(shard)
        record = interaction_record(grant, reply, created_ms=self._clock.epoch_ms(), served_ms=now_ms)

        memory = (
            None
            if reply.memory is None
            else MemoryRecord(version=grant.memory_version + 1, payload=reply.memory.payload)
        )

        def append(txn: WriteTransaction) -> tuple[InteractionRecord, StoredModel]:
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
            stored = ledger.read_model(txn, tenant, name)
            assert stored is not None, "a model that a turn was committed for exists"
            return interaction, stored

        return await self._shards.write(shard, append)

    def history(self, grant: TurnGrant) -> tuple[tuple[Message, ...], ...]:
        """Return the earlier turns of the grant's conversation, oldest first, each with its reply."""
        if grant.history_of is None:
            return ()
        start = max(0, grant.position - HISTORY_TURNS_MAX)
        with self._shards.read(self._shard_of(grant.model)) as transaction:
            records = ledger.read_log(transaction, *grant.model, start=start, limit=grant.position - start)
        return tuple(
            (
                *(Message(role, content) for role, content in record.messages),
                Message("assistant", record.reply),
            )
            for record in records
            if record.conversation == grant.history_of
        )


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
        finish_reason=reply.finish_reason,
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
        memory=grant.memory if grant.position % MEMORY_KEPT_EVERY == 0 else None,
        memory_module=None if trace is None else trace.module,
        retrieved=reply.retrieved,
        context_digest=reply.context_digest,
        memory_after=reply.memory.payload if reply.memory is not None and reply.memory.trace.is_set else None,
    )
