"""The catalogue of a host's shards: models, revisions, aliases and logs; all but turns."""

import asyncio
import heapq
import logging
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import islice

from populace.actors.clock import Clock
from populace.actors.engine import Message, finish_reason_in
from populace.actors.errors import InvalidName, InvalidRequest
from populace.actors.hosts import Lineage, ModelView, Revision
from populace.actors.keepers.adapter_files import AdapterFiles
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.memory import MemoryTrace
from populace.actors.names import check_model_name
from populace.actors.revision_names import find_revision
from populace.actors.turn import BASE_REVISION, Interaction, ModelId
from populace.policies.placement import shard_of
from populace.storage.records import erasures, journal_keys
from populace.storage.records.errors import ArchiveInvalid, ModelExists, ModelNotFound, RecordInvalid
from populace.storage.records.keys import alias_problem
from populace.storage.records.records import (
    IdentityRecord,
    InteractionRecord,
    RevisionRecord,
)
from populace.storage.rows import ledger, portable
from populace.storage.rows.ledger import StoredModel
from populace.storage.rows.portable import PortableModel
from populace.storage.store import Store

logger = logging.getLogger(__name__)


class Catalogue:
    """Creates, reads, lists and erases; each call is one read or one group-committed write.

    ``base`` is that of new models, which is served here.
    """

    def __init__(
        self, shards: OwnedShards, store: Store, adapters: AdapterFiles, *, base: str, clock: Clock
    ) -> None:
        self._shards = shards
        self._adapters = adapters
        self._sealing = store.sealing
        self._shard_count = store.shards
        self.base = base
        self._clock = clock

    def shard(self, model: ModelId) -> int:
        return shard_of(model.tenant, model.name, self._shard_count)

    def load(self, model: ModelId) -> StoredModel:
        """Read a model's durable state; raise ``ModelNotFound`` if it is absent, never return a default."""
        with self._shards.read(self.shard(model)) as transaction:
            stored = ledger.read_model(transaction, model.tenant, model.name)
        if stored is None:
            raise ModelNotFound(model.name)
        return stored

    async def create(self, model: ModelId, revision: Revision | None) -> StoredModel:
        check_model_name(model)
        identity = IdentityRecord(
            tenant=model.tenant, name=model.name, base=self.base, created_ms=self._clock.epoch_ms()
        )
        record = None if revision is None else revision_record(revision)
        if revision is not None:
            await self._adapters.keep_ahead(revision.digest)
        data_key = self._sealing.new_data_key()
        try:
            return await self._shards.write(
                self.shard(model), lambda txn: ledger.create_model(txn, identity, data_key, record)
            )
        except ModelExists:
            if revision is not None:
                await self._give_up(model, revision.digest)
            raise

    async def read_portable(self, model: ModelId) -> PortableModel:
        """Read all of a model as one snapshot, on a thread."""
        return await self._shards.read_on_thread(
            self.shard(model), lambda txn: portable.read_portable(txn, model.tenant, model.name)
        )

    async def write_portable(
        self, model: ModelId, content: PortableModel, *, operation_seconds_kept: float
    ) -> StoredModel:
        """Check all of an imported model on a thread, then create this model from it in one transaction."""
        check_model_name(model)
        shard = self.shard(model)
        now_ms = self._shards.served_ms(shard)
        expires_ms = now_ms + int(operation_seconds_kept * 1000)

        def rows_here() -> dict[bytes, bytes]:
            if content.base != self.base:
                reason = f"its base is {content.base[:80]!r}, and here it is {self.base}"
                raise ArchiveInvalid(model.name, reason)
            rows = portable.portable_rows(content, *model)
            return portable.timed_here(rows, *model, now_ms=now_ms, expires_ms=expires_ms)

        try:
            rows = await asyncio.to_thread(rows_here)
            await self._adapters.keep_ahead(*filter(None, map(journal_keys.revision_digest, rows)))
            data_key = self._sealing.new_data_key()
            await self._shards.write(
                shard,
                lambda txn: portable.write_portable(txn, model.tenant, model.name, data_key, rows),
            )
        except (ArchiveInvalid, ModelExists):
            await self._give_up(model, *portable.digests_of(content))
            raise
        return self.load(model)

    async def erase(self, model: ModelId) -> None:
        now_ms = self._clock.epoch_ms()
        await self._shards.write(
            self.shard(model),
            lambda txn: erasures.erase_model(txn, model.tenant, model.name, now_ms=now_ms),
        )

    async def register(self, model: ModelId, revision: Revision, alias: str) -> None:
        """Record a revision that ``alias`` is to be moved to."""
        check_alias(alias)
        record = revision_record(revision)
        await self._adapters.keep_ahead(revision.digest)
        try:
            await self._shards.write(
                self.shard(model), lambda txn: ledger.register_revision(txn, model.tenant, model.name, record)
            )
        except ModelNotFound:
            await self._give_up(model, revision.digest)
            raise

    async def promote(self, model: ModelId, digest: str, alias: str) -> StoredModel:
        """Move the alias to a registered revision, which becomes ready."""
        return await self._shards.write(
            self.shard(model),
            lambda txn: ledger.promote_revision(txn, model.tenant, model.name, digest, alias),
        )

    async def remove_alias(self, model: ModelId, alias: str) -> StoredModel:
        """Remove an alias other than ``latest``. Raises ``InvalidRequest`` for that one."""
        check_alias(alias)
        if alias == ledger.FIRST_ALIAS:
            message = f"Every model answers under `{alias}`: move it or roll it back, but do not remove it."
            raise InvalidRequest(message, "alias")
        return await self._shards.write(
            self.shard(model), lambda txn: ledger.remove_alias(txn, model.tenant, model.name, alias)
        )

    def find_revision(self, model: ModelId, reference: str) -> Revision:
        """Find a revision by an alias, a digest or a prefix of one.

        Raises ``ModelNotFound``, ``RevisionNotFound``, and ``InvalidRequest`` for the base, or a prefix of
        several digests.
        """
        found = find_revision(model.name, self.revisions(model), self.load(model).aliases, reference)
        if found is None:
            raise InvalidRequest("An alias names a revision, and the base is none.", "revision")
        return found

    def revisions(self, model: ModelId) -> tuple[Revision, ...]:
        with self._shards.read(self.shard(model)) as transaction:
            records = ledger.list_revisions(transaction, model.tenant, model.name)
        return tuple(revision_view(record) for record in records)

    def log(self, model: ModelId, start: int, limit: int) -> tuple[Interaction, ...]:
        with self._shards.read(self.shard(model)) as transaction:
            records = ledger.read_log(transaction, model.tenant, model.name, start=start, limit=limit)
        return tuple(interaction_view(model, record) for record in records)

    def list(
        self, tenant: str, after: str | None, limit: int, prefix: str = ""
    ) -> tuple[tuple[StoredModel, ...], tuple[str, ...]]:
        """List this host's models of a tenant, merged over its shards in name order, and what is missing.

        What is missing is as ``ModelPage`` has it.
        """
        missing = [f"shard {number}" for number in self._shards.unopened()]

        def note(name: str, error: RecordInvalid) -> None:
            logger.error("a model is not listed, as a row of it is damaged: %s", error)
            missing.append(name)

        with ExitStack() as stack:
            walks: list[Generator[StoredModel]] = []
            for number in self._shards.listed:
                transaction = stack.enter_context(self._shards.read(number))
                walk = ledger.walk_models(transaction, tenant, after=after, prefix=prefix, on_damaged=note)
                walks.append(stack.enter_context(closing(walk)))
            # Of each shard one model more is read than listed, and not as many as are asked for in all.
            merged = heapq.merge(*walks, key=lambda stored: stored.identity.name)
            return tuple(islice(merged, limit)), tuple(missing)

    async def _give_up(self, model: ModelId, *digests: str) -> None:
        """Note for a sweep adapters that were stored for a model but not registered with it."""
        if digests:
            await self._shards.write(self.shard(model), lambda txn: erasures.give_up(txn, digests))


def check_alias(alias: str) -> None:
    """Raise ``InvalidName`` unless the alias is allowed; ``base`` is not, as it names the base."""
    problem = "it names the base" if alias == BASE_REVISION else alias_problem(alias)
    if problem is not None:
        raise InvalidName(alias, problem)


def revision_record(revision: Revision) -> RevisionRecord:
    told = {} if revision.lineage is None else asdict(revision.lineage)
    return RevisionRecord(
        digest=revision.digest,
        base=revision.base,
        method=revision.method,
        parent=revision.parent,
        rank=revision.rank,
        adapter_bytes=revision.adapter_bytes,
        created_ms=revision.created_ms,
        sources=revision.sources,
        **told,
    )


def revision_view(record: RevisionRecord) -> Revision:
    return Revision(
        digest=record.digest,
        base=record.base,
        method=record.method,
        parent=record.parent,
        rank=record.rank,
        adapter_bytes=record.adapter_bytes,
        created_ms=record.created_ms,
        readiness="ready" if record.ready else "registered",
        lineage=_lineage(record),
        sources=record.sources,
    )


def _lineage(record: RevisionRecord) -> Lineage | None:
    if record.log_range is None or record.feedback_until_ms is None or record.data_digest is None:
        return None
    return Lineage(
        log_range=record.log_range,
        feedback_until_ms=record.feedback_until_ms,
        data_digest=record.data_digest,
        hyper_parameters=record.hyper_parameters,
        versions=record.versions,
        memory_module=record.memory_module,
        scores=record.scores,
        objections=record.objections,
        tokens=record.tokens,
        seconds=record.seconds,
    )


def model_view(stored: StoredModel, *, active: bool, begins_on: str | None = None) -> ModelView:
    return ModelView(
        model=ModelId(stored.identity.tenant, stored.identity.name),
        base=stored.identity.base,
        created_ms=stored.identity.created_ms,
        log_start=stored.head.log_start,
        log_position=stored.head.log_position,
        cursor=stored.head.cursor,
        memory_version=stored.head.memory_version,
        aliases=dict(stored.aliases),
        active=active,
        contributes=stored.contributes,
        begins_on=begins_on,
    )


def interaction_view(model: ModelId, record: InteractionRecord, *, replayed: bool = False) -> Interaction:
    return Interaction(
        model=model,
        position=record.position,
        operation=record.operation,
        completion_id=record.completion_id,
        messages=tuple(Message(role, content) for role, content in record.messages),
        reply=record.reply,
        finish_reason=None if record.answer is None else finish_reason_in(record.finish_reason),
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        revision=record.revision,
        base=record.base,
        memory_version=record.memory_version,
        created_ms=record.created_ms,
        conversation=record.conversation,
        history_turns=record.history_turns,
        replayed=replayed,
        memory=_trace(record),
        retrieved=record.retrieved,
        forgotten=record.forgotten is not None,
        instructions=record.instructions,
        note=record.note,
    )


def _trace(record: InteractionRecord) -> MemoryTrace | None:
    is_set = record.memory_after is not None
    if not record.memory_read and record.memory_from is None and not is_set:
        return None
    return MemoryTrace(record.memory_read, record.memory_from, record.reply_ids, record.memory_module, is_set)
