# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A population in this Ray cluster: calls go to hosts and engines directly, files to the gateway."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError

from populace.actors.aggregation.aggregator import Aggregator
from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.aggregation.report import PopulationReport, population_report
from populace.actors.engine import BaseInfo
from populace.actors.errors import ClusterNotFound, InvalidRequest
from populace.actors.hosts import Hosts, HostStatistics, ModelView, Revision
from populace.actors.merging import LayerDifference, MergedRevision
from populace.actors.request_log import RequestLog
from populace.actors.suites import SuiteResult
from populace.actors.turn import ChatRequest, Interaction, ModelId
from populace.actors.turns.running_reply import RunningReply
from populace.actors.turns.turn_director import begin_reply
from populace.client.chat_request import TURN_SECONDS_MAX
from populace.client.connection import MergeRequest, TellVote
from populace.client.http_connection import HttpConnection
from populace.client.http_transport import HttpTransport
from populace.client.streaming import AsyncReplyStream
from populace.engines.client import ReplicaEngine
from populace.hosting.aggregation import aggregator_over
from populace.hosting.directory.directory import Directory
from populace.hosting.host_client import RayHostClient, host_error
from populace.hosting.loopback import joins_at
from populace.hosting.messages import NAMESPACE, GatewayAddress, PopulationInfo, host_name
from populace.hosting.ray_token import ray_token, read_token_again
from populace.settings.environment import ask_for_ray_token, enter_quiet_environment
from populace.settings.running import Running, find_running
from populace.settings.settings import Settings
from populace.settings.signals import kept_sigterm
from populace.suites.asking import ask_suite


class RayConnection:
    """Implements ``Connection`` in a Ray cluster. What takes files or torch is the gateway's, over HTTP."""

    def __init__(
        self, info: PopulationInfo, handles: Sequence[Any], *, tenant: str, owns_ray: bool, token: ExitStack
    ) -> None:
        """Use ``RayConnection.open``. ``token`` ends the use of the token of a Ray that this joined."""
        self.tenant: str = tenant
        self.base: BaseInfo = info.base
        self.turn_seconds_max: float = TURN_SECONDS_MAX
        self.info = info
        self._owns_ray = owns_ray
        self._token = token
        clients = [RayHostClient(handle, host_name(index)) for index, handle in enumerate(handles)]
        self.hosts: Directory = Directory.over(clients, shard_count=info.shards)
        self._replicas: ReplicaEngine | None = None
        self._aggregator: Aggregator | None = None

    @classmethod
    def open(cls, address: str | None, *, tenant: str, data: str | Path | None) -> "RayConnection":
        """Join the Ray cluster at an address, or that of this user's server. Raises ``ClusterNotFound``."""
        enter_quiet_environment()
        running = None if address else find_running(Settings.from_environment(data=data).data)
        target = address if running is None else running.ray_address
        assert target is not None
        joins_ray = not ray.is_initialized()
        token = ExitStack()
        if joins_ray:
            try:
                if running is not None:
                    _use_token(running, token)
                with kept_sigterm(), joins_at(target):
                    ray.init(
                        address=target, namespace=NAMESPACE, logging_level=logging.ERROR, log_to_driver=False
                    )
            except (ConnectionError, RuntimeError, ValueError, AuthenticationError) as error:
                token.close()
                raise ClusterNotFound(target, str(error).split("\n", 1)[0]) from error
            # Else Serve tells the program's terminal of its own long polls.
            logging.getLogger("ray.serve").setLevel(logging.WARNING)
        elif not _is_same(joined := ray.get_runtime_context().gcs_address, target):
            raise ClusterNotFound(
                target,
                f"This process is in the Ray cluster at {joined}, and can be in one only: leave that first.",
            )
        try:
            info: PopulationInfo = _described(_host(target, 0))
            handles = [_host(target, index) for index in range(info.hosts)]
        except BaseException:
            # A process is in one cluster only: it could not connect to the right one afterwards.
            if joins_ray:
                with kept_sigterm():
                    ray.shutdown()
                token.close()
            raise
        return cls(info, handles, tenant=tenant, owns_ray=joins_ray, token=token)

    @property
    def base_directory(self) -> Path:
        return Path(self.info.base_directory)

    @property
    def directory(self) -> Directory:
        return self.hosts

    @property
    def gateway(self) -> GatewayAddress:
        """Where the gateway takes calls of this cluster. Raises ``InvalidRequest`` without one."""
        if self.info.gateway is None:
            message = "This population has hosts and no gateway, which works on files and keys."
            raise InvalidRequest(message, "address")
        return self.info.gateway

    async def stream(self, request: ChatRequest) -> AsyncReplyStream:
        reply = await begin_reply(self.hosts, self._engine(), request, stream=True)
        return AsyncReplyStream(_parts(reply))

    def remote_chat(self, request: ChatRequest) -> "ray.ObjectRef[Interaction]":
        client = self.hosts.client_of(request.turn.model)
        assert isinstance(client, RayHostClient)
        return client.call_remote(Hosts.chat, request)

    async def ask(
        self, question: Question, models: Sequence[str] | None, on_vote: TellVote | None
    ) -> PopulationAnswer:
        if self._aggregator is None:
            self._aggregator = aggregator_over(self.hosts, self._engine(), Path(self.info.data_directory))
        found: PopulationAnswer | None = None
        async with aclosing(self._aggregator.ask(self.tenant, question, models)) as answers:
            async for found in answers:
                if on_vote is not None:
                    on_vote(found)
        assert found is not None, "there is one at least"
        return found

    async def report(self) -> PopulationReport:
        members = await self.hosts.members.of_tenant(self.tenant)
        return await asyncio.to_thread(population_report, members)

    async def request_log(self, request_id: str) -> RequestLog:
        return await self._gateway.request_log(request_id)

    async def evaluate(self, model: ModelId, revision: str) -> SuiteResult:
        suite = await self.hosts.suites.show(model)
        return await ask_suite(
            self.hosts, model, suite, revision=revision, turn_seconds_max=self.turn_seconds_max
        )

    async def fork(self, model: ModelId, name: str) -> ModelView:
        content = await self.hosts.export_model(model)
        return await self.hosts.import_model(ModelId(self.tenant, name), content)

    async def publish(
        self, model: ModelId, adapter: Path, alias: str = "latest", *, create: bool = False
    ) -> Revision:
        return await self._gateway.publish(model, adapter, alias, create=create)

    async def diff(self, model: ModelId, one: str | None, other: str | None) -> tuple[LayerDifference, ...]:
        return await self._gateway.diff(model, one, other)

    async def merge(self, request: MergeRequest) -> MergedRevision:
        return await self._gateway.merge(request)

    async def export(self, model: ModelId, target: Path) -> None:
        await self._gateway.export(model, target)

    async def import_model(self, path: Path, name: str | None) -> ModelView:
        return await self._gateway.import_model(path, name)

    async def statistics(self) -> tuple[HostStatistics, ...]:
        return await self.hosts.statistics()

    async def close(self) -> None:
        """Cancel the tasks on the loop, as ``asyncio.run`` does, and leave Ray if this joined it.

        Ray ends the processes that are still in it when it ends.
        """
        if self._replicas is not None:
            # Its sockets belong to the loop.
            self._replicas.close()
        if "_gateway" in vars(self):
            await self._gateway.close()
        if self._owns_ray:
            with kept_sigterm():
                await asyncio.to_thread(ray.shutdown)
            self._token.close()

    @cached_property
    def _gateway(self) -> HttpConnection:
        """The gateway, for what takes the store's files: only the server opens them."""
        url, key = self.gateway
        return HttpConnection(HttpTransport(url, key, tenant=self.tenant), self.tenant, self.base)

    def _engine(self) -> ReplicaEngine:
        if self._replicas is None:
            self._replicas = ReplicaEngine(self.base, one_machine=self.info.one_machine)
        return self._replicas


async def _parts(reply: RunningReply) -> AsyncGenerator[str | Interaction, None]:
    async with aclosing(reply):
        if reply.interaction is not None:
            yield reply.interaction.reply
        else:
            async for delta in reply:
                if delta.text:
                    yield delta.text
        assert reply.interaction is not None, "a request keeps its only choice"
        yield reply.interaction


def _use_token(running: Running, stack: ExitStack) -> None:
    """Send the token that the running Populace's Ray asks for, until the stack ends."""
    if running.token_file is not None:
        stack.enter_context(ray_token(Path(running.token_file)))
    elif ask_for_ray_token():
        read_token_again()


def _is_same(joined: str, target: str) -> bool:
    """Return whether two Ray addresses may name one cluster; one may be the other's loopback address."""
    if target in ("auto", "local"):
        return True
    hosts, ports = zip(*(address.rpartition(":")[::2] for address in (joined, target)), strict=True)
    is_local = any(host in ("", "localhost", "127.0.0.1") for host in hosts)
    return ports[0] == ports[1] and (is_local or hosts[0] == hosts[1])


def _host(address: str, index: int) -> Any:
    try:
        return ray.get_actor(host_name(index), namespace=NAMESPACE)
    except ValueError:
        raise ClusterNotFound(
            address, "Ray runs there, but no Populace. Start it with `populace serve`."
        ) from None


def _described(handle: Any) -> PopulationInfo:
    try:
        return ray.get(handle.describe.remote())
    except RayError as error:
        raise host_error(host_name(0), error) from error
