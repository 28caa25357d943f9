"""A host: thousands of personal models on one event loop, over the shards that it owns.

Activation reads a model's durable state on its first message; passivation drops the object, as
everything worth keeping was committed turn by turn.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from pathlib import Path

from populace.actors.clock import Clock
from populace.actors.engine import Engine, joined
from populace.actors.errors import EngineUnavailable, HostUnavailable, InvalidRequest
from populace.actors.feedback import Feedback, Opinion
from populace.actors.host.activations import Activations
from populace.actors.host.forgetter import Forgetter
from populace.actors.host.grant_ids import GrantIds
from populace.actors.host.host_turns import HostTurns
from populace.actors.host.memory_keeper import MemoryKeeper
from populace.actors.host.retriever import Retriever
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import (
    HostStatistics,
    ModelPage,
    ModelView,
    Revision,
)
from populace.actors.keepers.adapter_files import AdapterFiles
from populace.actors.keepers.adapter_sweeper import AdapterSweeper, EraseFromNodes, UsedElsewhere
from populace.actors.keepers.catalogue import Catalogue, model_view
from populace.actors.keepers.communities import Communities
from populace.actors.keepers.contributor_keeper import ContributorKeeper
from populace.actors.keepers.feedback_keeper import FeedbackKeeper
from populace.actors.keepers.job_keeper import JobKeeper
from populace.actors.keepers.key_keeper import KeyKeeper
from populace.actors.keepers.log_compactor import LogCompactor
from populace.actors.keepers.member_keeper import MemberKeeper
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.keepers.promotions import Promotions
from populace.actors.keepers.rate_keeper import RateKeeper
from populace.actors.keepers.sentence_vectors import SentenceEncoder
from populace.actors.keepers.suite_keeper import SuiteKeeper
from populace.actors.keepers.tenant_keeper import TenantKeeper
from populace.actors.keepers.turn_log import TurnLog
from populace.actors.peek import Peek
from populace.actors.process_use import ProcessUse
from populace.actors.tracing import NoTracer, Tracer
from populace.actors.turn import ChatRequest, Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.actors.turns.peeks import begin_peek_reply
from populace.actors.turns.turn_director import begin_reply
from populace.storage.directory_lock import DirectoryLock
from populace.storage.journal.journals import Journals
from populace.storage.journal.options import JournalOptions
from populace.storage.records.errors import ModelNotFound
from populace.storage.rows.ledger import StoredModel
from populace.storage.rows.portable import PortableModel
from populace.storage.store import Store


class ModelHost:
    """Serves ``Hosts`` for the models of its shards."""

    def __init__(
        self,
        name: str,
        store: Store,
        shards: Iterable[int],
        *,
        base: str,
        clock: Clock,
        engine: Engine | None = None,
        limits: HostLimits | None = None,
        community: str | None = None,
        encoder: SentenceEncoder | None = None,
        process_use: Callable[[], ProcessUse] | None = None,
        tracer: Tracer | None = None,
        used_elsewhere: UsedElsewhere | None = None,
        journal: JournalOptions | None = None,
        erase_from_nodes: EraseFromNodes | None = None,
        lock: DirectoryLock | None = None,
    ) -> None:
        """``community`` is the name of the model on which others of its tenant begin, if there is one.

        ``encoder`` finds what questions in other words ask for; without one words alone decide it.
        ``process_use`` measures the process, if the host has one of its own. ``tracer`` records what turns
        wait for, if traces are on. ``used_elsewhere`` asks the other hosts, if there are any, which adapters
        they need; ``erase_from_nodes`` erases adapters from the engines' nodes, if there are any. With a
        ``journal``, what is committed is in it, too. ``lock`` is that of the store's directory, if nothing
        else holds it; it is released with the host. Raises ``BucketRefused`` if the journal's URL names no
        bucket.
        """
        self.name = name
        self._store = store
        self._lock = lock
        self._clock = clock
        self._process_use = process_use
        self._engine = engine
        self._limits = limits or HostLimits()
        self._grant_ids = GrantIds()
        tracer = tracer or NoTracer()
        owner = f"{name}/{self._grant_ids.incarnation}"
        journals = None if journal is None else Journals(store, journal, owner=owner, now_ms=clock.epoch_ms)
        self.journals = journals
        self._owned = OwnedShards(
            store, shards, owner=owner, clock=clock, on_lost=self._forget_shard, journals=journals
        )
        self._adapter_files = AdapterFiles(store, self._owned, journals)
        self._catalogue = Catalogue(self._owned, store, self._adapter_files, base=base, clock=clock)
        self._communities = Communities(
            store, self._owned, self._catalogue.shard, name=community, clock=clock
        )
        self._adapters = AdapterSweeper(store, self._owned, used_elsewhere, journals, erase_from_nodes)
        self._promotions = Promotions(self._catalogue, engine, self._adapter_files)
        turn_log = TurnLog(
            self._owned,
            self._catalogue.shard,
            clock=clock,
            operation_seconds_kept=self._limits.operation_seconds_kept,
            tracer=tracer,
        )
        self.members = MemberKeeper(self._owned, self._catalogue.shard, clock=clock)
        self.contributors = ContributorKeeper(self._owned, self._catalogue.shard, clock=clock)
        self.suites = SuiteKeeper(self._owned, self._catalogue.shard)
        self.keys = KeyKeeper(self._owned, store.shards, clock=clock)
        self.rates = RateKeeper(clock=clock)
        self.tenants = TenantKeeper(self._owned, store.shards)
        self.jobs = JobKeeper(
            self._owned,
            self._catalogue,
            self._promotions,
            clock=clock,
            limits=self._limits,
            communities=self._communities,
            on_moved=self._note_moved,
            view=self._view,
        )
        self._feedback = FeedbackKeeper(self._owned, self._catalogue.shard, clock=clock)
        self._logs = LogCompactor(self._owned, self._catalogue.shard, limits=self._limits.log)
        self._active = Activations(
            name,
            clock=clock,
            resident_bytes_max=self._limits.resident_bytes_max,
            idle_seconds_max=self._limits.idle_seconds_max,
            on_passivated=lambda model: self._logs.note_passivated(model.stored),
        )
        self._retriever = Retriever(name, self._owned, self._catalogue.shard, self._active, encoder)
        self._turns = HostTurns(
            self._catalogue,
            turn_log,
            self._active,
            self._retriever,
            self._logs,
            self._grant_ids,
            self._communities,
            clock=clock,
            mailbox_max=self._limits.mailbox_max,
            adapters=self._adapter_files,
            tracer=tracer,
        )
        self.memories = MemoryKeeper(
            self._turns,
            self._owned,
            self._catalogue.shard,
            self._adapter_files.ref,
            self._retriever,
            engine,
            turn_log.find,
            self._communities.revisions,
        )
        self.forgetting = Forgetter(
            self._turns, self._owned, self._catalogue.shard, self.memories, turn_log.find, clock=clock
        )

    async def begin_turn(self, request: TurnRequest) -> TurnGrant | Interaction:
        return await self._turns.begin_turn(request)

    async def accept_turn(self, grant: TurnGrant, message: Reply) -> TurnGrant:
        return await self._turns.accept_turn(grant, message)

    async def finish_turn(self, grant: TurnGrant, reply: Reply) -> Interaction:
        return await self._turns.finish_turn(grant, reply)

    async def abandon_turn(self, grant: TurnGrant, reason: str, *, refused: bool = False) -> None:
        await self._turns.abandon_turn(grant, reason, refused=refused)

    async def begin_peek(self, request: TurnRequest) -> TurnGrant:
        return await self._turns.begin_peek(request)

    async def peek(self, request: ChatRequest) -> Peek:
        if self._engine is None:
            raise EngineUnavailable("this host was started without one")
        async with aclosing(await begin_peek_reply(self, self._engine, request)) as reply:
            deltas = [delta async for delta in reply]
        assert reply.grant is not None, "a peek has one"
        return Peek.of(reply.grant, joined(deltas), reply.retrieved)

    async def chat(self, request: ChatRequest) -> Interaction:
        if self._engine is None:
            raise EngineUnavailable("this host was started without one")
        async with aclosing(await begin_reply(self, self._engine, request)) as reply:
            async for _ in reply:
                pass
        if reply.interaction is None:
            raise InvalidRequest("A turn keeps one of its choices.", "keep")
        return reply.interaction

    async def create_model(self, model: ModelId, revision: Revision | None = None) -> ModelView:
        return self._view(await self._catalogue.create(model, revision))

    async def show_model(self, model: ModelId) -> ModelView:
        return self._view(self._catalogue.load(model))

    async def list_models(
        self, tenant: str, *, after: str | None = None, limit: int = 100, prefix: str = ""
    ) -> ModelPage:
        stored, missing = self._catalogue.list(tenant, after, limit, prefix)
        views = tuple(self._view(model) for model in stored)
        return ModelPage(views, views[-1].model.name if views and len(views) == limit else None, missing)

    async def export_model(self, model: ModelId) -> PortableModel:
        return await self._catalogue.read_portable(model)

    async def import_model(self, model: ModelId, content: PortableModel) -> ModelView:
        stored = await self._catalogue.write_portable(
            model, content, operation_seconds_kept=self._limits.operation_seconds_kept
        )
        return self._view(stored)

    async def erase_model(self, model: ModelId) -> None:
        self._catalogue.load(model)
        if model in self._turns.erasing:
            raise ModelNotFound(model.name)
        self._turns.erasing.add(model)
        # Shielded: if the caller were cancelled, the model would stay draining and refuse every turn.
        await asyncio.shield(self._erase(model))

    async def read_log(self, model: ModelId, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        return self._catalogue.log(model, start, limit)

    async def give_feedback(
        self, model: ModelId, on: int | str, opinion: Opinion, key: str | None = None
    ) -> Feedback:
        given = await self._feedback.give(model, on, opinion, key)
        active = self._active.get(model)
        if active is not None and opinion.correction is not None:
            self._retriever.forget(active, vectors=False)
        return given

    async def read_feedback(
        self, model: ModelId, *, start: int = 0, limit: int = 1000
    ) -> tuple[Feedback, ...]:
        return self._feedback.read(model, start, limit)

    async def publish_revision(self, model: ModelId, revision: Revision, alias: str = "latest") -> ModelView:
        return self._moved(model, await self._promotions.promote(model, revision, alias))

    async def move_alias(self, model: ModelId, alias: str, reference: str) -> ModelView:
        return self._moved(model, await self._promotions.repoint(model, alias, reference))

    async def remove_alias(self, model: ModelId, alias: str) -> ModelView:
        return self._moved(model, await self._promotions.remove(model, alias))

    async def list_revisions(self, model: ModelId) -> tuple[Revision, ...]:
        return self._promotions.revisions(model)

    async def statistics(self) -> tuple[HostStatistics, ...]:
        commits, batches = self._owned.commit_statistics()
        memories = [model.memory_bytes for model in self._active]
        return (
            HostStatistics(
                host=self.name,
                shards=self._owned.numbers,
                active=len(self._active),
                busy=self._active.busy,
                waiting=sum(model.waiting for model in self._active if model.is_busy),
                resident_bytes=self._active.resident_bytes,
                resident_bytes_max=self._limits.resident_bytes_max,
                turns=self._turns.committed,
                activations=self._grant_ids.activations,
                passivations=self._active.passivations,
                refusals=self._active.refusals,
                commits=commits,
                commit_batches=batches,
                store=self._owned.statistics(),
                mailbox=self._turns.mailbox.snapshot(),
                replays=self._turns.replays,
                memory_states=sum(size > 0 for size in memories),
                memory_bytes=sum(memories),
                training=await self.jobs.counts.statistics(),
                process=None if self._process_use is None else self._process_use(),
            ),
        )

    async def adapters_in_use(self, digests: frozenset[str]) -> frozenset[str]:
        return await self._adapters.used(digests)

    def find_adapter(self, digest: str) -> Path | None:
        """Return where an adapter is on this machine, as ``AdapterFiles.find`` does. Blocks."""
        return self._adapter_files.find(digest)

    def passivate_idle(self) -> int:
        """Passivate the models idle for too long; return how many. Called by the runtime's clock."""
        return self._active.passivate_idle()

    def open_shards(self) -> None:
        """Try the shards again that could not be opened. Called by the runtime's clock."""
        self._owned.take_opened()

    async def compact_shards(self) -> int:
        """Compact the shards whose files are mostly free or hold traces of erased models.

        Returns how many. Called by the runtime's clock.
        """
        return await self._owned.compact(
            free_bytes_min=self._limits.shard_free_bytes_min, now_ms=self._clock.epoch_ms()
        )

    async def sweep_adapters(self) -> int:
        """Remove adapters of erased models; return how many. Called by the runtime's clock."""
        return await self._adapters.sweep()

    def fetch_adapters(self) -> None:
        """Begin to fetch from the journal what this disk lacks. Called by the runtime's clock."""
        self._adapter_files.fetch_absent_nowait()

    async def record_time(self) -> None:
        """Record how long shards were served, see ``policies/served_time.py``, and which keys were used."""
        await self._owned.record_time()
        await self.keys.write_uses()

    def passivate(self, model: ModelId) -> bool:
        """Passivate one model now if it is idle; return whether it was active and idle."""
        return self._active.passivate(model)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless idle + busy = active, each on a held shard, and bytes add up.

        Reads no row and waits for nothing: cheap enough while the host serves.
        """
        self._owned.check_integrity()
        self._active.check_integrity()
        self._promotions.check_integrity()
        for model in self._active:
            assert self._owned.is_held(self._catalogue.shard(model.id)), f"{model.id} has lost its shard"
        assert self._grant_ids.activations >= self._active.passivations + len(self._active)

    async def end_turns(self, error: Exception, seconds_max: float) -> None:
        """Fail the turns that wait, and wait for those that run. New ones have to be kept away meanwhile."""
        await self._turns.end_all(error, seconds_max)

    def ship_all(self, seconds_max: float) -> None:
        """Write to the journal all that is committed. Blocks. Raises ``BucketUnreachable``."""
        self._owned.ship_all(seconds_max)

    def close(self) -> None:
        """Fail all waiting turns, commit queued writes, and release the shards."""
        for model in self._active:
            self._active.drop(model, HostUnavailable(self.name, "it is shutting down"))
        self.memories.close()
        self._retriever.close()
        self._logs.close()
        self._adapter_files.close()
        self._owned.close()
        if self._lock is not None:
            self._lock.release()

    def _moved(self, model: ModelId, stored: StoredModel) -> ModelView:
        self._note_moved(model, stored)
        return self._view(stored)

    def _view(self, stored: StoredModel) -> ModelView:
        model = ModelId(stored.identity.tenant, stored.identity.name)
        return model_view(stored, active=model in self._active, begins_on=self._communities.begins_on(stored))

    def _note_moved(self, model: ModelId, stored: StoredModel) -> None:
        active = self._active.get(model)
        if active is not None:
            active.replace_aliases(stored.aliases)

    def _forget_shard(self, number: int, error: Exception) -> None:
        """Drop the activations of a lost shard: they may be ahead of what is durable."""
        self._grant_ids.lose(number)
        self._adapter_files.forget_shard(number)
        for model in self._active:
            if self._catalogue.shard(model.id) == number:
                self._active.drop(model, error)

    async def _erase(self, model: ModelId) -> None:
        try:
            active = self._active.get(model)
            if active is not None:
                await active.drain()
                self._active.drop(active, ModelNotFound(model.name))
            await self._catalogue.erase(model)
        finally:
            self._turns.erasing.discard(model)
