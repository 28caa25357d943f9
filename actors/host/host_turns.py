"""The turns of a host: it activates their models, grants them one at a time, and commits them.

It does not matter which process generates between the grant and the commit.
"""

import asyncio
from dataclasses import replace

from populace.actors.clock import Clock
from populace.actors.errors import TurnExpired
from populace.actors.forgetting import FORGET_ROLE
from populace.actors.host.activations import Activations
from populace.actors.host.grant_ids import GrantIds
from populace.actors.host.personal_model import PersonalModel, grant_of, named_revision
from populace.actors.host.retriever import Retriever
from populace.actors.keepers.adapter_files import AdapterFiles
from populace.actors.keepers.catalogue import Catalogue, interaction_view
from populace.actors.keepers.communities import Communities
from populace.actors.keepers.log_compactor import LogCompactor
from populace.actors.keepers.turn_log import MakeReply, TurnLog
from populace.actors.peek import is_peek, new_peek_id
from populace.actors.span_names import ACTIVATE, COMMIT, LOG_POSITION, MAILBOX_WAIT, MODEL, RETRIEVE
from populace.actors.tracing import Tracer
from populace.actors.turn import BASE_REVISION, Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.storage.records.durations import Durations
from populace.storage.records.errors import ModelNotFound, PositionConflict, RevisionNotFound
from populace.storage.rows.ledger import StoredModel

BUSY_POLL_SECONDS = 0.02


class HostTurns:
    """Serves the turns of ``Hosts``, and those in which a host changes a model itself."""

    def __init__(
        self,
        catalogue: Catalogue,
        turn_log: TurnLog,
        active: Activations,
        retriever: Retriever,
        logs: LogCompactor,
        grant_ids: GrantIds,
        communities: Communities,
        *,
        clock: Clock,
        mailbox_max: int,
        adapters: AdapterFiles,
        tracer: Tracer,
    ) -> None:
        self._catalogue = catalogue
        self._turn_log = turn_log
        self._active = active
        self._retriever = retriever
        self._logs = logs
        self._grant_ids = grant_ids
        self._communities = communities
        self._clock = clock
        self._mailbox_max = mailbox_max
        self._adapters = adapters
        self._tracer = tracer
        self._commits: dict[str, asyncio.Task[Interaction]] = {}
        self.erasing: set[ModelId] = set()
        """Models that are being erased: they are not activated again."""

        self.committed = 0
        self.replays = 0
        self.mailbox = Durations()
        """How long turns waited for their model, those that found it idle included."""

    async def begin_turn(self, request: TurnRequest) -> TurnGrant | Interaction:
        replay = self._turn_log.find(request)
        if replay is not None:
            self.replays += 1
            return replay
        model = self._activate(request.model)
        asked_s = self._clock.monotonic()
        self._active.note_wanted(request.model)
        try:
            queued = model.request_turn(request)
        except Exception:
            self._active.note_idle(model)
            raise
        try:
            with self._tracer.span(MAILBOX_WAIT, {MODEL: request.model}):
                grant = await queued.granted
        except asyncio.CancelledError:
            model.withdraw(queued)
            raise
        self.mailbox.add(self._clock.monotonic() - asked_s)
        try:
            # A duplicate that waited behind the first call finds its turn committed now.
            replay = self._turn_log.find(request)
            if replay is None:
                if grant.adapter is not None:
                    await self._adapters.fetch(grant.adapter.digest)
                with self._tracer.span(RETRIEVE):
                    grant = self._turn_log.completed(grant, request.follows)
                    if grant.goes_on:  # another turn may have read it as it is
                        self._retriever.forget(model, vectors=False)
                    grant = await self._retriever.completed(model, grant, request.retrieval)
        except BaseException:  # the caller may be cancelled while the log is searched
            model.release(grant)
            raise
        if replay is not None:
            model.release(grant)
            self.replays += 1
            return replay
        return grant

    async def begin_peek(self, request: TurnRequest) -> TurnGrant:
        if request.model in self.erasing:
            raise ModelNotFound(request.model.name)
        active = self._active.get(request.model)
        stored = self._catalogue.load(request.model) if active is None else active.stored
        revision = self._revision_to_see(stored, request)
        peek_id = new_peek_id()
        grant = grant_of(
            stored,
            replace(request, operation=peek_id),
            peek_id,
            revision,
            None if revision == BASE_REVISION else self._adapters.ref(revision),
        )
        if request.alias == BASE_REVISION:
            grant = replace(grant, memory=None, memory_version=0)
        if grant.adapter is not None:
            await self._adapters.fetch(grant.adapter.digest)
        grant = self._turn_log.completed(grant, request.follows)
        wanted = request.retrieval
        if wanted is not None and request.alias == BASE_REVISION:
            wanted = replace(wanted, corrections=False, told=False)
        return await self._retriever.completed(active, grant, wanted)

    async def accept_turn(self, grant: TurnGrant, message: Reply) -> TurnGrant:
        if not self._is_ours(grant):
            again = await self._granted_again(grant)
            if isinstance(again, Interaction):
                raise TurnExpired(grant.model.name, "another call of the same operation made it")
            grant = again
        await self.finish_made(grant, lambda txn: message)
        return grant

    async def finish_turn(self, grant: TurnGrant, reply: Reply) -> Interaction:
        if is_peek(grant):
            raise TurnExpired(grant.model.name, "it is a peek, and was never a turn")
        if grant.grant_id in self._commits:
            return await asyncio.shield(self._commits[grant.grant_id])
        if not self._is_ours(grant):
            again = await self._granted_again(grant)
            return again if isinstance(again, Interaction) else await self.finish_turn(again, reply)
        model = self._active.get(grant.model)
        if model is None or not model.is_running(grant):
            replay = self._turn_log.find(grant.request)
            if replay is not None:
                return replay
            raise TurnExpired(grant.model.name, "its deadline passed or its caller gave it up")
        return await self.finish_made(grant, lambda txn: reply)

    async def finish_made(self, grant: TurnGrant, make: MakeReply) -> Interaction:
        """Commit a running turn. ``make`` runs in its transaction and returns the turn's reply.

        A turn whose message alone is committed so goes on.
        """
        model = self._active.get(grant.model)
        if model is None:
            raise TurnExpired(grant.model.name, "its shard was lost")
        model.claim(grant)
        commit = self._commits[grant.grant_id] = asyncio.create_task(self._commit(model, grant, make))
        commit.add_done_callback(lambda _: self._commits.pop(grant.grant_id))
        return await asyncio.shield(commit)

    async def abandon_turn(self, grant: TurnGrant, reason: str, *, refused: bool = False) -> None:
        del reason
        model = self._active.get(grant.model)
        if model is None or not model.is_running(grant):
            return
        if refused:
            model.claim(grant)
            try:
                model.stored = await self._turn_log.withdraw(grant)
            finally:
                model.release(grant)
        else:
            model.abandon(grant)

    async def end_all(self, error: Exception, seconds_max: float) -> None:
        """Fail the waiting turns, and wait for the running ones; the next host can commit longer ones."""
        for model in self._active:
            model.send_waiting_away(error)
        give_up_s = self._clock.monotonic() + seconds_max
        while self._active.busy:
            if self._clock.monotonic() > give_up_s:
                return
            await asyncio.sleep(BUSY_POLL_SECONDS)

    def _revision_to_see(self, stored: StoredModel, request: TurnRequest) -> str:
        """Return the revision to peek at; an alias names that first, then ``base`` and a digest do.

        The digest of the community's revision that serves the model is one of its own here.
        """
        if request.alias == BASE_REVISION:
            return BASE_REVISION
        shared = self._communities.begins_on(stored)
        try:
            return named_revision(stored, request.alias) or shared or BASE_REVISION
        except RevisionNotFound:
            if shared is not None and shared == request.alias:
                return shared
            return self._catalogue.find_revision(request.model, request.alias).digest

    def _activate(self, model_id: ModelId) -> PersonalModel:
        if model_id in self.erasing:
            raise ModelNotFound(model_id.name)
        model = self._active.get(model_id)
        if model is not None:
            return model
        with self._tracer.span(ACTIVATE, {MODEL: model_id}):
            return self._activated(model_id)

    def _activated(self, model_id: ModelId) -> PersonalModel:
        model = PersonalModel(
            self._catalogue.load(model_id),
            # The number distinguishes grant ids of an earlier activation from those of this one.
            incarnation=self._grant_ids.next_activation,
            clock=self._clock,
            mailbox_max=self._mailbox_max,
            adapter_of=self._adapters.ref,
            begins_on=self._communities.begins_on,
            on_idle=self._active.note_idle,
        )
        self._active.add(model)
        self._grant_ids.activations += 1
        return model

    def _is_ours(self, grant: TurnGrant) -> bool:
        return self._grant_ids.is_ours(grant.grant_id, self._catalogue.shard(grant.model))

    async def _granted_again(self, grant: TurnGrant) -> TurnGrant | Interaction:
        """Begin a turn anew whose activation was lost with its host or shard, if the log has not moved."""
        turn = await self.begin_turn(grant.request)
        if isinstance(turn, Interaction):
            return turn
        if turn.created_ms != grant.created_ms:
            await self.abandon_turn(turn, "it is a namesake's")
            raise ModelNotFound(grant.model.name)
        if turn.position != grant.position:
            await self.abandon_turn(turn, "the log moved on")
            raise PositionConflict(grant.model.name, grant.position, turn.position)
        return replace(grant, grant_id=turn.grant_id)

    async def _commit(self, model: PersonalModel, grant: TurnGrant, make: MakeReply) -> Interaction:
        try:
            with self._tracer.span(COMMIT, {MODEL: grant.model, LOG_POSITION: grant.position}):
                interaction, stored = await self._turn_log.append(grant, make)
        except BaseException:
            model.release(grant)
            raise
        if interaction.answer is None:
            if model.is_running(grant):
                model.go_on(grant, stored)
            return interaction_view(grant.model, interaction)
        if model.is_running(grant):
            before = model.resident_bytes
            model.advance(grant, stored)
            self._active.note_grown(model, model.resident_bytes - before)
            if interaction.messages[0][0] == FORGET_ROLE:
                self._retriever.forget(model)
        self.committed += 1
        self._logs.note_turn(stored)
        return interaction_view(grant.model, interaction)
