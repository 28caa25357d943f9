# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""A population in this Ray cluster: calls go to its hosts and engines directly, without a gateway."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray._raylet import Config  # type: ignore[attr-defined]  # a compiled module
from ray.exceptions import RayError

from populace.actors.aggregation.aggregator import Aggregator
from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.errors import ClusterNotFound
from populace.actors.hosts import Hosts, HostStatistics, ModelView, Revision
from populace.actors.members import revision_to_merge
from populace.actors.merging import LayerDifference, MergedRevision, MergeOptions
from populace.actors.revision_names import find_compared
from populace.actors.turn import ChatRequest, Interaction, ModelId
from populace.actors.turns.running_reply import RunningReply
from populace.actors.turns.turn_director import begin_reply
from populace.client.connection import MergeRequest, TellVote
from populace.client.streaming import AsyncReplyStream
from populace.engines.client import ReplicaEngine
from populace.hosting.aggregation import aggregator_over
from populace.hosting.directory import Directory
from populace.hosting.host_actor import NAMESPACE, PopulationInfo, host_name
from populace.hosting.host_client import RayHostClient, host_error
from populace.settings.running import find_running
from populace.settings.settings import Settings, ask_for_ray_token, enter_quiet_environment
from populace.storage.adapter_store import AdapterStore
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.files import disk_named, replaced_durably
from populace.storage.rows.portable import PortableModel

T = TypeVar("T")


class RayConnection:
    """Implements ``Connection`` in a Ray cluster. It opens the store's files, so it needs their machine."""

    def __init__(self, info: PopulationInfo, handles: Sequence[Any], *, tenant: str, owns_ray: bool) -> None:
        """Use ``RayConnection.open``."""
        self.tenant = tenant
        self.base = info.base
        self.info = info
        self._owns_ray = owns_ray
        self._adapters = AdapterStore(
            Path(info.data_directory), Path(info.base_directory), info.base.fingerprint, info.rank_max
        )
        clients = [RayHostClient(handle, host_name(index)) for index, handle in enumerate(handles)]
        self.hosts = Directory(clients, shard_count=info.shards)
        self._replicas: ReplicaEngine | None = None
        self._aggregator: Aggregator | None = None

    @classmethod
    def open(cls, address: str | None, *, tenant: str, data: str | Path | None) -> "RayConnection":
        """Join the Ray cluster at an address, or that of this user's server. Raises ``ClusterNotFound``."""
        enter_quiet_environment()
        # A Ray that `populace serve` started asks for its user's token, which lies in their home. Ray
        # read the variable when it was imported; it does the same for a cluster of its own.
        if address is None and ask_for_ray_token():
            Config.initialize("")
        target = address or find_running(Settings.from_environment(data=data).data).ray_address
        joins_ray = not ray.is_initialized()
        if joins_ray:
            try:
                ray.init(
                    address=target, namespace=NAMESPACE, logging_level=logging.ERROR, log_to_driver=False
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ClusterNotFound(target, str(error).split("\n", 1)[0]) from error
        elif not _is_same(joined := ray.get_runtime_context().gcs_address, target):
            raise ClusterNotFound(
                target,
                f"This process is in the Ray cluster at {joined}, and can be in one only: leave that first.",
            )
        info: PopulationInfo = _described(_host(target, 0))
        handles = [_host(target, index) for index in range(info.hosts)]
        return cls(info, handles, tenant=tenant, owns_ray=joins_ray)

    @property
    def base_directory(self) -> Path:
        return self._adapters.base_directory

    @property
    def directory(self) -> Directory:
        return self.hosts

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
            self._aggregator = aggregator_over(self.hosts, self._engine(), self._adapters.data_directory)
        found: PopulationAnswer | None = None
        async with aclosing(self._aggregator.ask(self.tenant, question, models)) as answers:
            async for found in answers:
                if on_vote is not None:
                    on_vote(found)
        assert found is not None, "there is one at least"
        return found

    async def fork(self, model: ModelId, name: str) -> ModelView:
        content = await self.hosts.export_model(model)
        return await self.hosts.import_model(ModelId(self.tenant, name), content)

    async def publish(
        self, model: ModelId, adapter: Path, alias: str = "latest", *, create: bool = False
    ) -> Revision:
        # Torch and transformers are imported only to publish an adapter.
        from populace.adapters.publishing import imported_adapter

        imported: AbstractContextManager[Revision] = imported_adapter(
            adapter, self._adapters, now_ms=time.time_ns() // 1_000_000
        )
        async with _on_thread(imported) as revision:
            if create:
                await self.hosts.create_model(model, revision)
            else:
                await self.hosts.publish_revision(model, revision, alias)
        return replace(revision, readiness="ready")

    async def diff(self, model: ModelId, one: str | None, other: str | None) -> tuple[LayerDifference, ...]:
        # Torch is imported only to compare.
        from populace.adapters.lora.comparing import compare_stored

        aliases = (await self.hosts.show_model(model)).aliases
        known = await self.hosts.list_revisions(model)
        chosen, against = find_compared(model.name, known, aliases, one, other)
        return tuple(await asyncio.to_thread(compare_stored, self._adapters, chosen, against))

    async def merge(self, request: MergeRequest) -> MergedRevision:
        # Torch is imported only to merge.
        from populace.adapters.lora.merged_revision import merged_adapter
        from populace.adapters.lora.merging import weights_of

        names = list(request.models)
        target = ModelId(self.tenant, request.into)
        merging = merged_adapter(
            [
                revision_to_merge(name, await self.hosts.members.of_model(ModelId(self.tenant, name)))
                for name in names
            ],
            weights_of(request.weights, names),
            MergeOptions(request.method, request.rank, request.density, request.seed),  # type: ignore[arg-type]
            self._adapters,
            now_ms=time.time_ns() // 1_000_000,
        )
        async with _on_thread(merging) as merged:
            try:
                await self.hosts.publish_revision(target, merged.revision)
            except ModelNotFound:
                await self.hosts.create_model(target, merged.revision)
        return merged

    async def export(self, model: ModelId, target: Path) -> None:
        from populace.archive.exporting import export_archive

        loop = asyncio.get_running_loop()

        def content() -> PortableModel:
            return asyncio.run_coroutine_threadsafe(self.hosts.export_model(model), loop).result()

        def write() -> None:
            with disk_named(target), replaced_durably(target) as file:
                export_archive(file, model.name, self._adapters.data_directory, content)

        await asyncio.to_thread(write)

    async def import_model(self, path: Path, name: str | None, *, bytes_max: int) -> ModelView:
        from populace.archive.adapter_check import check_adapters
        from populace.archive.importing import import_archive
        from populace.archive.reading import open_archive_file

        loop = asyncio.get_running_loop()

        def create(model: ModelId, content: PortableModel) -> ModelView:
            return asyncio.run_coroutine_threadsafe(self.hosts.import_model(model, content), loop).result()

        def read() -> ModelView:
            with open_archive_file(path, bytes_max=bytes_max) as archive:
                return import_archive(
                    archive, self.tenant, name, self._adapters, check=check_adapters, create=create
                )

        return await asyncio.to_thread(read)

    async def statistics(self) -> tuple[HostStatistics, ...]:
        return await self.hosts.statistics()

    async def close(self) -> None:
        """Cancel the tasks on the loop, as ``asyncio.run`` does, and leave Ray if this joined it.

        Ray ends the processes that are still in it when it ends.
        """
        if self._replicas is not None:
            # Its sockets belong to the loop.
            self._replicas.close()
        if self._owns_ray:
            await asyncio.to_thread(ray.shutdown)

    def _engine(self) -> ReplicaEngine:
        if self._replicas is None:
            self._replicas = ReplicaEngine(self.base)
        return self._replicas


@asynccontextmanager
async def _on_thread(manager: AbstractContextManager[T]) -> AsyncGenerator[T, None]:
    """Enter and leave a context on a thread, so that its work does not block the loop."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    except BaseException as error:
        if not await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await asyncio.to_thread(manager.__exit__, None, None, None)


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
