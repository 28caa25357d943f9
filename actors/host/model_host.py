"""A host: thousands of personal models on one event loop, over the shards that it owns.

Activation reads a model's durable state on its first message; passivation drops the object, as
everything worth keeping was committed turn by turn. The host grants turns and commits them; it does
not matter which process generates in between (this one, or a gateway that streams).
"""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import replace

from populace.actors.clock import Clock
from populace.actors.engine import AdapterRef, Engine
from populace.actors.errors import EngineUnavailable, HostUnavailable, InvalidRequest, TurnExpired
from populace.actors.feedback import Feedback, Opinion
from populace.actors.forgetting import FORGET_ROLE
from populace.actors.host.activations import Activations
from populace.actors.host.forgetter import Forgetter
from populace.actors.host.grant_ids import GrantIds
from populace.actors.host.memory_keeper import MemoryKeeper
from populace.actors.host.personal_model import PersonalModel
from populace.actors.host.retriever import Retriever
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import (
    ApiKey,
    HostStatistics,
    ModelPage,
    ModelView,
    Revision,
)
from populace.actors.keepers.adapter_sweeper import AdapterSweeper
from populace.actors.keepers.catalogue import Catalogue, interaction_view, model_view
from populace.actors.keepers.feedback_keeper import FeedbackKeeper
from populace.actors.keepers.job_keeper import JobKeeper
from populace.actors.keepers.log_compactor import LogCompactor
from populace.actors.keepers.member_keeper import MemberKeeper
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.keepers.promotions import Promotions
from populace.actors.keepers.turn_log import MakeReply, TurnLog
from populace.actors.turn import ChatRequest, Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.actors.turns.turn_director import begin_reply
from populace.storage.records.errors import ModelNotFound, PositionConflict
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
    ) -> None:
        self.name = name
        self._store = store
        self._clock = clock
        self._engine = engine
        self._limits = limits or HostLimits()
        self._grant_ids = GrantIds()
        self._owned = OwnedShards(
            store,
            shards,
            owner=f"{name}/{self._grant_ids.incarnation}",
            clock=clock,
            on_lost=self._forget_shard,
        )
        self._catalogue = Catalogue(self._owned, store, base=base, clock=clock)
        self._adapters = AdapterSweeper(store, self._owned)
        self._promotions = Promotions(self._catalogue, engine, self._adapter_of)
        self._turn_log = TurnLog(
            self._owned,
            self._catalogue.shard,
            clock=clock,
            operation_seconds_kept=self._limits.operation_seconds_kept,
        )
        self.memories = MemoryKeeper(
            self, self._owned, self._catalogue.shard, self._adapter_of, engine, self._turn_log.find
        )
        self.forgetting = Forgetter(
            self, self._owned, self._catalogue.shard, self.memories, self._turn_log.find, clock=clock
        )
        self.members = MemberKeeper(self._owned, self._catalogue.shard, clock=clock)
        self.jobs = JobKeeper(
            self._owned,
            self._catalogue,
            self._promotions,
            clock=clock,
            has_trainer=self._limits.has_trainer,
            on_moved=self._note_moved,
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
        self._retriever = Retriever(name, self._owned, self._catalogue.shard, self._active)
        self._erasing: set[ModelId] = set()
        self._commits: dict[str, asyncio.Task[Interaction]] = {}
        self._turns = 0

    async def begin_turn(self, request: TurnRequest) -> TurnGrant | Interaction:
        replay = self._turn_log.find(request)
        if replay is not None:
            return replay
        model = self._activate(request.model)
        self._active.note_wanted(request.model)
        try:
            queued = model.request_turn(request)
        except Exception:
            self._active.note_idle(model)
            raise
        try:
            grant = await queued.granted
        except asyncio.CancelledError:
            model.withdraw(queued)
            raise
        try:
            # A duplicate that waited behind the first call finds its turn committed now.
            replay = self._turn_log.find(request)
            if replay is None:
                grant = self._turn_log.completed(grant)
                if request.retrieval is not None:
                    found = await self._retriever.find(model, grant, request.retrieval)
                    grant = replace(grant, retrieved=found)
        except BaseException:  # the caller may be cancelled while the log is searched
            model.release(grant)
            raise
        if replay is not None:
            model.release(grant)
            return replay
        return grant

    async def finish_turn(self, grant: TurnGrant, reply: Reply) -> Interaction:
        if grant.grant_id in self._commits:
            return await asyncio.shield(self._commits[grant.grant_id])
        if not self._grant_ids.is_ours(grant.grant_id, self._catalogue.shard(grant.model)):
            return await self._adopt(grant, reply)
        model = self._active.get(grant.model)
        if model is None or not model.is_running(grant):
            replay = self._turn_log.find(grant.request)
            if replay is not None:
                return replay
            raise TurnExpired(grant.model.name, "its deadline passed or its caller gave it up")
        return await self.finish_made(grant, lambda txn: reply)

    async def finish_made(self, grant: TurnGrant, make: MakeReply) -> Interaction:
        """Commit a running turn. ``make`` runs in its transaction and returns the turn's reply."""
        model = self._active.get(grant.model)
        if model is None:
            raise TurnExpired(grant.model.name, "its shard was lost")
        model.claim(grant)
        commit = self._commits[grant.grant_id] = asyncio.create_task(self._commit(model, grant, make))
        commit.add_done_callback(lambda _: self._commits.pop(grant.grant_id))
        return await asyncio.shield(commit)

    async def abandon_turn(self, grant: TurnGrant, reason: str) -> None:
        del reason
        model = self._active.get(grant.model)
        if model is not None:
            model.abandon(grant)

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
        return model_view(await self._catalogue.create(model, revision), active=False)

    async def show_model(self, model: ModelId) -> ModelView:
        return model_view(self._catalogue.load(model), active=model in self._active)

    async def list_models(self, tenant: str, *, after: str | None = None, limit: int = 100) -> ModelPage:
        stored = self._catalogue.list(tenant, after, limit)
        views = tuple(
            model_view(model, active=ModelId(tenant, model.identity.name) in self._active) for model in stored
        )
        return ModelPage(views, views[-1].model.name if views and len(views) == limit else None)

    async def export_model(self, model: ModelId) -> PortableModel:
        return await self._catalogue.read_portable(model)

    async def import_model(self, model: ModelId, content: PortableModel) -> ModelView:
        stored = await self._catalogue.write_portable(
            model, content, operation_seconds_kept=self._limits.operation_seconds_kept
        )
        return model_view(stored, active=False)

    async def erase_model(self, model: ModelId) -> None:
        self._catalogue.load(model)
        if model in self._erasing:
            raise ModelNotFound(model.name)
        self._erasing.add(model)
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
            self._retriever.forget(active)
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

    async def create_key(self, key: ApiKey) -> None:
        await self._catalogue.create_key(key)

    async def find_key(self, key_id: str) -> ApiKey | None:
        return self._catalogue.find_key(key_id)

    async def list_keys(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        return self._catalogue.keys(tenant)

    async def revoke_key(self, key_id: str) -> ApiKey | None:
        return await self._catalogue.revoke_key(key_id)

    async def statistics(self) -> tuple[HostStatistics, ...]:
        commits, batches = self._owned.commit_statistics()
        return (
            HostStatistics(
                host=self.name,
                shards=self._owned.numbers,
                active=len(self._active),
                busy=self._active.busy,
                waiting=sum(model.waiting for model in self._active if model.is_busy),
                resident_bytes=self._active.resident_bytes,
                resident_bytes_max=self._limits.resident_bytes_max,
                turns=self._turns,
                activations=self._grant_ids.activations,
                passivations=self._active.passivations,
                refusals=self._active.refusals,
                commits=commits,
                commit_batches=batches,
                store=self._owned.statistics(),
            ),
        )

    def passivate_idle(self) -> int:
        """Passivate the models idle for too long; return how many. Called by the runtime's clock."""
        return self._active.passivate_idle()

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

    async def record_time(self) -> None:
        """Record how long the shards were served; see ``policies/served_time.py``."""
        await self._owned.record_time()

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

    def close(self) -> None:
        """Fail all waiting turns, commit queued writes, and release the shards."""
        for model in self._active:
            self._active.drop(model, HostUnavailable(self.name, "it is shutting down"))
        self._retriever.close()
        self._logs.close()
        self._owned.close()

    def _activate(self, model_id: ModelId) -> PersonalModel:
        if model_id in self._erasing:
            raise ModelNotFound(model_id.name)
        model = self._active.get(model_id)
        if model is not None:
            return model
        model = PersonalModel(
            self._catalogue.load(model_id),
            # The number distinguishes grant ids of an earlier activation from those of this one.
            incarnation=self._grant_ids.next_activation,
            clock=self._clock,
            mailbox_max=self._limits.mailbox_max,
            adapter_of=self._adapter_of,
            on_idle=self._active.note_idle,
        )
        self._active.add(model)
        self._grant_ids.activations += 1
        return model

    def _moved(self, model: ModelId, stored: StoredModel) -> ModelView:
        self._note_moved(model, stored)
        return model_view(stored, active=model in self._active)

    def _note_moved(self, model: ModelId, stored: StoredModel) -> None:
        active = self._active.get(model)
        if active is not None:
            active.replace_aliases(stored.aliases)

    def _forget_shard(self, number: int, error: Exception) -> None:
        """Drop the activations of a lost shard: they may be ahead of what is durable."""
        self._grant_ids.lose(number)
        for model in self._active:
            if self._catalogue.shard(model.id) == number:
                self._active.drop(model, error)

    async def _adopt(self, grant: TurnGrant, reply: Reply) -> Interaction:
        """Commit a turn whose activation was lost with its host or shard, if the log has not moved since."""
        turn = await self.begin_turn(grant.request)
        if isinstance(turn, Interaction):
            return turn
        if turn.created_ms != grant.created_ms:
            await self.abandon_turn(turn, "it is a namesake's")
            raise ModelNotFound(grant.model.name)
        if turn.position != grant.position:
            await self.abandon_turn(turn, "the log moved on")
            raise PositionConflict(grant.model.name, grant.position, turn.position)
        return await self.finish_turn(replace(grant, grant_id=turn.grant_id), reply)

    async def _erase(self, model: ModelId) -> None:
        try:
            active = self._active.get(model)
            if active is not None:
                await active.drain()
                self._active.drop(active, ModelNotFound(model.name))
            await self._catalogue.erase(model)
        finally:
            self._erasing.discard(model)

    async def _commit(self, model: PersonalModel, grant: TurnGrant, make: MakeReply) -> Interaction:
        try:
            interaction, stored = await self._turn_log.append(grant, make)
        except BaseException:
            model.release(grant)
            raise
        if model.is_running(grant):
            before = model.resident_bytes
            model.advance(grant, stored)
            self._active.note_grown(model, model.resident_bytes - before)
            if interaction.messages[0][0] == FORGET_ROLE:
                self._retriever.forget(model)
        self._turns += 1
        self._logs.note_turn(stored)
        return interaction_view(grant.model, interaction)

    def _adapter_of(self, digest: str) -> AdapterRef:
        return AdapterRef(digest, str(self._store.revisions.path(digest)))
