"""Keeps the logs of a host's models bounded, after their turns: no turn waits for it.

One run on a log forgets expired operation ids and drops what ``policies/log_retention.py`` lets go.
It is a write like a turn's and takes its place in the same queue, so it never runs inside a turn.
What a failed run left undone, the next one does: each begins with the state of the store.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.turn import ModelId
from populace.policies.log_retention import InteractionSize, LogExtent, LogLimits, keep_from
from populace.storage.records.errors import ModelNotFound, PopulaceError
from populace.storage.records.records import IdentityRecord, InteractionRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import ledger, log
from populace.storage.rows.ledger import StoredModel

logger = logging.getLogger(__name__)

TURNS_BETWEEN_LOOKS = 64
STEP_MAX = 256
"""One transaction drops at most this many interactions, so that a long backlog delays no turn for long."""


class LogCompactor:
    """Compacts logs, each model's at most once at a time."""

    def __init__(self, shards: OwnedShards, shard_of: Callable[[ModelId], int], *, limits: LogLimits) -> None:
        self._shards = shards
        self._shard_of = shard_of
        self._limits = limits
        self._looks: dict[ModelId, asyncio.Task[None]] = {}

    def note_turn(self, stored: StoredModel) -> None:
        """Compact the log if the turn that was just committed makes it due."""
        if stored.head.log_position % TURNS_BETWEEN_LOOKS == 0:
            self._look_soon(stored)

    def note_passivated(self, stored: StoredModel) -> None:
        """Compact the log of a model that is passivated, unless it is too short to be worth a write."""
        if stored.head.log_position - stored.head.log_start >= TURNS_BETWEEN_LOOKS:
            self._look_soon(stored)

    def close(self) -> None:
        """Stop waiting for running compactions. One that is queued already may still take effect."""
        for look in self._looks.values():
            look.cancel()

    def _look_soon(self, stored: StoredModel) -> None:
        model = ModelId(stored.identity.tenant, stored.identity.name)
        if model not in self._looks:
            look = self._looks[model] = asyncio.create_task(self._look(model))
            look.add_done_callback(lambda _: self._looks.pop(model))

    async def _look(self, model: ModelId) -> None:
        try:
            while not await self._step(model):
                pass
        except ModelNotFound:
            logger.debug("%s was erased before its log was compacted", model)
        except PopulaceError as error:
            logger.warning("the log of %s was not compacted: %s", model, error)
        except Exception:
            logger.exception("the log of %s was not compacted", model)

    async def _step(self, model: ModelId) -> bool:
        number = self._shard_of(model)
        now_ms = self._shards.served_ms(number)
        return await self._shards.write(number, lambda txn: compact(txn, model, self._limits, now_ms))


def compact(txn: WriteTransaction, model: ModelId, limits: LogLimits, now_ms: int) -> bool:
    """Take one step: prune and drop up to ``STEP_MAX`` interactions; return whether that was all.

    If the memory state is not stored where the log would be cut, the log is cut at an earlier position.
    """
    before = ledger.read_model(txn, *model)
    if before is None:
        raise ModelNotFound(model.name)
    pruned = before._replace(head=log.prune_operations(txn, *model, now_ms=now_ms, limit=STEP_MAX))
    head = pruned.head
    wanted = _keep_from(txn, pruned, limits, now_ms)
    if wanted > head.log_start:
        position, memory = log.stored_memory(txn, pruned, wanted)
        head = log.compact_log(txn, *model, position, memory=memory)
    moved = max(head.operations_start - before.head.operations_start, head.log_start - before.head.log_start)
    return moved < STEP_MAX


def _keep_from(txn: ReadTransaction, stored: StoredModel, limits: LogLimits, now_ms: int) -> int:
    identity, head = stored.identity, stored.head
    assert head.log_bytes is not None, "pruning counts them"
    extent = LogExtent(
        start=head.log_start,
        position=head.log_position,
        bytes_kept=head.log_bytes,
        # A model that was never trained may never be; after its first training, the log waits for the next.
        untrained_from=head.cursor if head.cursor > 0 else None,
    )
    free = min(head.operations_start - head.log_start, STEP_MAX)
    walk = islice(log.walk_log(txn, identity.tenant, identity.name, head.log_start), free)
    oldest = (InteractionSize(_made_ms(logged.record, identity), logged.bytes_kept) for logged in walk)
    return keep_from(extent, oldest, limits, now_ms)


def _made_ms(record: InteractionRecord, identity: IdentityRecord) -> int:
    if identity.arrived is not None and record.position < identity.arrived[0]:
        return identity.arrived[1]
    return record.created_ms if record.served_ms is None else record.served_ms
