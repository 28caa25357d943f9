"""Sends every call to the host of its model's shard, and merges the results of several hosts.

Many calls that are made in one turn of the event loop share one message to a host: a call on
its own costs a process hop (2 k/s measured on two cores), 256 in one message 450 k/s.
"""

import asyncio
import heapq
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from populace.actors.feedback import Feedback, Opinion
from populace.actors.hosts import (
    Hosts,
    HostStatistics,
    ModelPage,
    ModelView,
    Revision,
)
from populace.actors.peek import Peek
from populace.actors.retries import LOST, retrying
from populace.actors.turn import ChatRequest, Interaction, ModelId, Reply, TurnGrant, TurnRequest
from populace.hosting.directory.contributors import ContributorDirectory
from populace.hosting.directory.forgetting import ForgettingDirectory
from populace.hosting.directory.jobs import JobDirectory
from populace.hosting.directory.keys import KeyDirectory
from populace.hosting.directory.members import MemberDirectory
from populace.hosting.directory.memories import MemoryDirectory
from populace.hosting.directory.operations import Method, P, T, operation_of
from populace.hosting.directory.rates import RateDirectory
from populace.hosting.directory.suites import SuiteDirectory
from populace.hosting.directory.tenants import TenantDirectory
from populace.policies.placement import host_of, shard_of
from populace.storage.rows.portable import PortableModel

RETRY_SECONDS_MAX = 20.0
"""How long a call waits for a restarting host: Ray restarts one in 1 to 3 s on a small machine."""

RETRY_SECONDS_FIRST = 0.05


class HostClient(Protocol):
    """Sends calls to one host."""

    async def call(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return the method's result or raise its error; raises ``HostUnavailable`` if no host responds."""
        ...


class Directory:
    """Implements ``Hosts`` for the whole population, with its ``jobs`` and ``members``."""

    def __init__(self, clients: Sequence[HostClient], *, shard_count: int) -> None:
        self._clients = tuple(clients)
        self._shard_count = shard_count
        self.jobs: JobDirectory = JobDirectory(self)
        self.forgetting: ForgettingDirectory = ForgettingDirectory(self)
        self.memories: MemoryDirectory = MemoryDirectory(self)
        self.members: MemberDirectory = MemberDirectory(self)
        self.suites: SuiteDirectory = SuiteDirectory(self)
        self.keys: KeyDirectory = KeyDirectory(self)
        self.rates: RateDirectory = RateDirectory(self)
        self.tenants: TenantDirectory = TenantDirectory(self)
        self.contributors: ContributorDirectory = ContributorDirectory(self)

    async def begin_turn(self, request: TurnRequest) -> TurnGrant | Interaction:
        return await self.retried(request.model, Hosts.begin_turn, request)

    async def accept_turn(self, grant: TurnGrant, message: Reply) -> TurnGrant:
        return await self.retried(grant.model, Hosts.accept_turn, grant, message)

    async def finish_turn(self, grant: TurnGrant, reply: Reply) -> Interaction:
        # Retrying is safe: the operation id makes the commit take effect once.
        return await self.retried(grant.model, Hosts.finish_turn, grant, reply)

    async def abandon_turn(self, grant: TurnGrant, reason: str, *, refused: bool = False) -> None:
        await self._of(grant.model).call(Hosts.abandon_turn, grant, reason, refused=refused)

    async def begin_peek(self, request: TurnRequest) -> TurnGrant:
        return await self.retried(request.model, Hosts.begin_peek, request)

    async def peek(self, request: ChatRequest) -> Peek:
        return await self.retried(request.turn.model, Hosts.peek, request)

    async def chat(self, request: ChatRequest) -> Interaction:
        return await self.retried(request.turn.model, Hosts.chat, request)

    async def create_model(self, model: ModelId, revision: Revision | None = None) -> ModelView:
        return await self._of(model).call(Hosts.create_model, model, revision)

    async def show_model(self, model: ModelId) -> ModelView:
        return await self.retried(model, Hosts.show_model, model)

    async def list_models(
        self, tenant: str, *, after: str | None = None, limit: int = 100, prefix: str = ""
    ) -> ModelPage:
        pages = await self.everywhere(Hosts.list_models, tenant, after=after, limit=limit, prefix=prefix)
        merged = heapq.merge(*(page.models for page in pages), key=lambda view: view.model.name)
        views = tuple(view for view, _ in zip(merged, range(limit), strict=False))
        return ModelPage(views, views[-1].model.name if views and len(views) == limit else None)

    async def export_model(self, model: ModelId) -> PortableModel:
        return await self.retried(model, Hosts.export_model, model)

    async def import_model(self, model: ModelId, content: PortableModel) -> ModelView:
        return await self._of(model).call(Hosts.import_model, model, content)

    async def erase_model(self, model: ModelId) -> None:
        await self._of(model).call(Hosts.erase_model, model)

    async def read_log(self, model: ModelId, *, start: int = 0, limit: int = 100) -> tuple[Interaction, ...]:
        return await self.retried(model, Hosts.read_log, model, start=start, limit=limit)

    async def give_feedback(
        self, model: ModelId, on: int | str, opinion: Opinion, key: str | None = None
    ) -> Feedback:
        return await self.retried(model, Hosts.give_feedback, model, on, opinion, key)

    async def read_feedback(
        self, model: ModelId, *, start: int = 0, limit: int = 1000
    ) -> tuple[Feedback, ...]:
        return await self.retried(model, Hosts.read_feedback, model, start=start, limit=limit)

    async def publish_revision(self, model: ModelId, revision: Revision, alias: str = "latest") -> ModelView:
        return await self.retried(model, Hosts.publish_revision, model, revision, alias)

    async def move_alias(self, model: ModelId, alias: str, reference: str) -> ModelView:
        return await self.retried(model, Hosts.move_alias, model, alias, reference)

    async def remove_alias(self, model: ModelId, alias: str) -> ModelView:
        return await self._of(model).call(Hosts.remove_alias, model, alias)

    async def list_revisions(self, model: ModelId) -> tuple[Revision, ...]:
        return await self.retried(model, Hosts.list_revisions, model)

    async def adapters_in_use(self, digests: frozenset[str]) -> frozenset[str]:
        return frozenset[str]().union(*await self.everywhere(Hosts.adapters_in_use, digests))

    async def statistics(self) -> tuple[HostStatistics, ...]:
        pages = await self.everywhere(Hosts.statistics)
        return tuple(host for page in pages for host in page)

    def client_of(self, model: ModelId) -> HostClient:
        return self._of(model)

    def _of(self, model: ModelId) -> HostClient:
        shard = shard_of(model.tenant, model.name, self._shard_count)
        return self._clients[host_of(shard, len(self._clients))]

    async def everywhere(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> list[T]:
        """Call every host until it responds; the results are in the hosts' order."""
        return await asyncio.gather(
            *(_patiently(client, method, *args, **options) for client in self._clients)
        )

    def retried(
        self, model: ModelId, method: Method[P, T], *args: P.args, **options: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call the model's host until it responds. Only for calls that may take effect twice without harm."""
        return _patiently(self._of(model), method, *args, **options)


async def _patiently(client: HostClient, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Call until the host responds; waits at most ``RETRY_SECONDS_MAX`` for a host that restarts.

    Only for calls that may take effect twice without harm.
    """
    try:  # tenacity costs 16 microseconds a call, so that only a call that failed pays for it
        return await client.call(method, *args, **options)
    except LOST:
        again = retrying(
            operation_of(method).name, LOST, first_seconds=RETRY_SECONDS_FIRST, seconds_max=RETRY_SECONDS_MAX
        )
        return await again(client.call, method, *args, **options)


class LocalHostClient:
    """Calls a host in this process; for tests and for embedding without Ray."""

    def __init__(self, host: Hosts) -> None:
        self._host = host

    async def call(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
        return await operation_of(method).run(self._host, *args, **options)
