"""A whole population in one process: the real application, directory, hosts and store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import httpx
from fastapi import FastAPI

from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.turn import Interaction, ModelId
from populace.archive.adapter_check import check_adapters
from populace.archive.adapter_work import DoWork, do_work
from populace.engines.traced_engine import TracedEngine
from populace.gateway.app import create_app
from populace.gateway.deployment import MeteredEngine
from populace.gateway.fine_tuning.upload_service import UploadService
from populace.gateway.http.access import new_key
from populace.gateway.http.file_work import FileWork
from populace.gateway.http.machine_locks import MachineLocks
from populace.gateway.personal_models.adapter_service import AdapterService
from populace.gateway.personal_models.archive_service import ArchiveService
from populace.hosting.aggregation import aggregator_over
from populace.hosting.directory.directory import Directory, LocalHostClient
from populace.hosting.host_survey import HostSurvey
from populace.policies.placement import shards_of
from populace.settings.clock import SystemClock
from populace.storage.adapter_store import AdapterStore
from populace.storage.store import Store
from populace.storage.uploads.upload_files import UploadFiles
from populace.suites.rewards import reward_names
from populace.telemetry.tracing.spans import TRACER
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.scripted_engine import BASE, ScriptedEngine

SHARDS = 2
HOSTS = 2
MAILBOX_MAX = 2
BODY_BYTES_MAX = 100_000
ARCHIVE_BYTES_MAX = 400_000
FILE_BYTES_MAX = 300_000
TENANT_FILE_BYTES_MAX = 500_000
RANK_MAX = 16


class Population:
    """``app`` over two hosts; ``keys`` holds an API key of each tenant, acme and globex."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = ScriptedEngine()
        self.keys: dict[str, str] = {}
        # A turn that nobody ends outlasts the limits of tests.
        self.turn_seconds_max = 2 * HANG_SECONDS
        self.base_directory = path.with_name(f"{path.name}-base")
        self.logs_directory = path.with_name(f"{path.name}-logs")
        self.traces_directory = path.with_name(f"{path.name}-traces")
        self._open()

    @classmethod
    async def start(cls, path: Path) -> Self:
        population = cls(path)
        for tenant in ("acme", "globex"):
            population.keys[tenant], record = new_key(tenant, "test", now_ms=0)
            await population.directory.keys.create(record)
        return population

    async def add_key(self, name: str, tenant: str = "acme", **options: Any) -> str:
        """Make a key with these options of ``new_key``, of which ``client`` takes the name."""
        self.keys[name], record = new_key(tenant, name, now_ms=0, **options)
        await self.directory.keys.create(record)
        return record.key_id

    def restart(self) -> None:
        """Stop the hosts and the gateway, and start new ones on the same store."""
        self._close_hosts()
        self._open()

    def close(self) -> None:
        assert self.engine.running == set(), "every reply gave its slot back"
        for host in self.hosts:
            host.check_integrity()
        self._close_hosts()

    def make_app(
        self, *, do_work: DoWork = do_work, cors_origins: tuple[str, ...] = (), **options: Any
    ) -> FastAPI:
        """``do_work`` works on adapters, in this process unless it is another one.

        ``options`` are further ones of ``create_app``.
        """
        work = FileWork(MachineLocks(self.path / "GATEWAYS"), bytes_max=ARCHIVE_BYTES_MAX)
        destination = AdapterStore(self.path, self.base_directory, BASE.fingerprint, RANK_MAX)
        return create_app(
            self.directory,
            MeteredEngine(TracedEngine(self.engine)),
            probe_engine=self.engine,
            probe_hosts=self.survey,
            turn_seconds_max=self.turn_seconds_max,
            body_bytes_max=BODY_BYTES_MAX,
            archive_service=ArchiveService(self.directory, destination, work, check=check_adapters),
            adapter_service=AdapterService(self.directory, destination, work, do_work=do_work),
            aggregator=aggregator_over(self.directory, MeteredEngine(TracedEngine(self.engine)), self.path),
            cors_origins=cors_origins,
            embedder=self.engine,
            upload_service=UploadService(
                UploadFiles.of_store(self.path),
                work,
                bytes_max=FILE_BYTES_MAX,
                tenant_bytes_max=TENANT_FILE_BYTES_MAX,
            ),
            logs_directory=self.logs_directory,
            traces_directory=self.traces_directory,
            **options,
        )

    @asynccontextmanager
    async def client(self, tenant: str | None = "acme") -> AsyncGenerator[httpx.AsyncClient, None]:
        """Talk to the application without a socket, as a tenant, with a named key, or without one."""
        headers = {} if tenant is None else {"Authorization": f"Bearer {self.keys[tenant]}"}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://populace", headers=headers
        ) as client:
            yield client

    async def create(self, name: str, tenant: str = "acme") -> None:
        await self.directory.create_model(ModelId(tenant, name))

    async def log(self, name: str, tenant: str = "acme") -> tuple[Interaction, ...]:
        return await self.directory.read_log(ModelId(tenant, name))

    async def wait_waiting(self, count: int) -> None:
        """Wait until so many turns wait for a model: other connections cause it, so it is polled."""
        async with asyncio.timeout(HANG_SECONDS):
            while sum([host.waiting for host in await self.directory.statistics()]) != count:  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    def _open(self) -> None:
        store = Store.create_or_open(self.path, SHARDS)
        self.hosts = [
            ModelHost(
                f"host-{index}",
                store,
                shards_of(index, SHARDS, HOSTS),
                base=BASE.fingerprint,
                clock=SystemClock(),
                engine=TracedEngine(self.engine),
                limits=HostLimits(mailbox_max=MAILBOX_MAX, rewards=reward_names()),
                tracer=TRACER,
            )
            for index in range(HOSTS)
        ]
        clients = {host.name: LocalHostClient(host) for host in self.hosts}
        self.directory = Directory.over(tuple(clients.values()), shard_count=SHARDS)
        self.survey = HostSurvey(clients, shard_count=SHARDS)
        self.app = self.make_app()

    def _close_hosts(self) -> None:
        for host in self.hosts:
            host.close()


@asynccontextmanager
async def running_population(folder: Path) -> AsyncGenerator[Population]:
    """Two hosts with the model ``ada`` of acme, over a store in the folder."""
    population = await Population.start(folder / "store")
    await population.create("ada")
    yield population
    population.close()


def chat_body(text: str = "hello", model: str = "ada", **options: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **options}
