"""Sends every call to the host of its model's shard, and merges the results of several hosts.

Many calls that are made in one turn of the event loop share one message to a host: a call on
its own costs a process hop (2 k/s measured on two cores), 256 in one message 450 k/s.
"""

import asyncio
import heapq
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, Self

from populace.actors.hosts import Hosts, HostStatistics, ModelPage
from populace.actors.retries import LOST, retrying
from populace.actors.turn import ModelId
from populace.hosting.directory.operations import Method, P, T, operation_of
from populace.hosting.directory.parts import sends
from populace.policies.placement import host_of, shard_of

RETRY_SECONDS_MAX = 20.0
"""How long a call waits for a restarting host: Ray restarts one in 1 to 3 s on a small machine."""

RETRY_SECONDS_FIRST = 0.05


class HostClient(Protocol):
    """Sends calls to one host."""

    async def call(self, method: Method[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return the method's result or raise its error; raises ``HostUnavailable`` if no host responds."""
        ...


@sends
class Directory(Hosts):
    """Implements ``Hosts`` for the whole population; see ``sends`` for what does not stand here."""

    @classmethod
    def over(cls, clients: Sequence[HostClient], *, shard_count: int) -> Self:
        """Return the directory of these hosts. The class itself is abstract to checkers of types."""
        return cls(clients, shard_count=shard_count)

    def __init__(self, clients: Sequence[HostClient], *, shard_count: int) -> None:
        self._clients = tuple(clients)
        self._shard_count = shard_count
        self._router = self

    async def list_models(
        self, tenant: str, *, after: str | None = None, limit: int = 100, prefix: str = ""
    ) -> ModelPage:
        pages = await self.everywhere(Hosts.list_models, tenant, after=after, limit=limit, prefix=prefix)
        merged = heapq.merge(*(page.models for page in pages), key=lambda view: view.model.name)
        views = tuple(view for view, _ in zip(merged, range(limit), strict=False))
        missing = tuple(sorted({one for page in pages for one in page.missing}))
        return ModelPage(views, views[-1].model.name if views and len(views) == limit else None, missing)

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

    def send(
        self, model: ModelId, method: Method[P, T], *args: P.args, **options: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call the model's host, until it responds if the method may take effect twice without harm."""
        client = self._of(model)
        call = client.call if operation_of(method).is_sent_once else partial(_patiently, client)
        return call(method, *args, **options)


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
