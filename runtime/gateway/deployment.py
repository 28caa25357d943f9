# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Ray's API is partly untyped.
"""The gateway under Ray Serve: a deployment that listens by itself.

Serve starts it, checks its health and replaces it. HTTP does not pass through Serve's
proxy: that would be one more process for every token of every stream. Several gateways of a node
share the port (SO_REUSEPORT): the kernel gives each new connection to one of them.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI
from ray import serve
from ray.util import get_node_ip_address

from populace.actors.engine import BaseInfo, Delta, Engine, GenerateRequest
from populace.actors.rates import estimated_tokens
from populace.actors.wrapped_engine import WrappedEngine
from populace.adapters.memory.state import StateFormat
from populace.engines.client import ReplicaEngine
from populace.engines.engine_nodes import HEALTH_SECONDS, EngineNodes, noted_start
from populace.engines.traced_engine import TracedEngine
from populace.gateway.app import create_app, metrics_app
from populace.gateway.fine_tuning.upload_service import UploadService
from populace.gateway.forwarding import Forwarder
from populace.gateway.http.context import Gateway
from populace.gateway.http.file_work import FileWork
from populace.gateway.http.limits import Allowance, current_allowance
from populace.gateway.http.machine_locks import MachineLocks
from populace.gateway.inner_listener import InnerAddress, InnerListener
from populace.gateway.metrics.of_gateways import GatewayReport
from populace.gateway.metrics_push import start_metrics_push
from populace.gateway.peers import RayGateways
from populace.gateway.personal_models.adapter_service import AdapterService
from populace.gateway.personal_models.archive_service import ArchiveService
from populace.gateway.server import Server, bind, end_servers
from populace.gateway.trainer_probe import RayTrainerProbe
from populace.hosting.aggregation import aggregator_over
from populace.hosting.directory.directory import Directory
from populace.hosting.gateway_nodes import JoinedGateway
from populace.hosting.host_client import RayHostClient, connect_host
from populace.hosting.host_survey import HostSurvey
from populace.hosting.messages import host_name
from populace.hosting.store_node import Home, own_base, own_settings, own_telemetry, placed
from populace.settings.settings import Settings
from populace.settings.signals import end_with_parent
from populace.storage.adapter_store import AdapterStore
from populace.storage.journal.journaled_files import stored_adapters
from populace.storage.revisions import RevisionFiles
from populace.storage.uploads.upload_files import UploadFiles
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.serve_log import SERVE_LOGGING
from populace.telemetry.tracing.setup import telemetry_setup


class MeteredEngine(WrappedEngine):
    """Any ``Engine``. A reply to a request with a limit on tokens reserves what it may take before it begins.

    What it did not take is given back once it has ended. The first reply of a request waits for no tokens:
    it is refused, with all others of the request that begin with it. Later ones are of a request that has
    begun, and what they take is owed.
    """

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        allowance = current_allowance()
        if allowance is None or not allowance.limits_tokens:
            return self._engine.generate(request)
        reserved = estimated_tokens(request)
        allowance.plan(reserved)
        return self._metered(request, allowance, reserved)

    async def _metered(
        self, request: GenerateRequest, allowance: Allowance, reserved: float
    ) -> AsyncGenerator[Delta, None]:
        await allowance.reserve()
        prompt = reply = 0
        try:
            async with aclosing(self._engine.generate(request)) as deltas:
                async for delta in deltas:
                    prompt = delta.prompt_tokens
                    reply += len(delta.token_ids)
                    yield delta
        finally:
            allowance.settle(reserved, prompt + reply)


# Ray Serve's types leave parameters and results unknown to a strict checker.
_serve: Any = serve

APPLICATION = "populace-gateway"
DEPLOYMENT = "gateway"

LOCKS_FILE = "GATEWAYS"
"""In the data directory: the locks that all gateways of its machine share."""

ANSWER_SECONDS_MAX = 4.0
"""How long a gateway that is to end goes on with the requests that it has."""
STOP_SECONDS_MAX = 10.0
"""How long Serve waits for a gateway's end: for its requests, its last metrics, and its log and traces."""


class GatewayWork(NamedTuple):
    """How many requests a gateway is at work on, and the names by which hosts know it as a caller."""

    running: int
    callers: tuple[str, ...]


class GatewayOptions(NamedTuple):
    """How to start a gateway.

    ``turn_seconds_max`` bounds a turn, ``body_bytes_max`` a request, and ``archive_bytes_max`` one that
    brings an archive or an adapter; adapters go to ``destination``, and ``states`` is the format of the
    memory states that are served. An uploaded file has at most ``file_bytes_max``, all of a tenant
    ``tenant_file_bytes_max``; ``master_key`` is the file of the key that wraps theirs, None the one in the
    store. ``cluster_key`` is that of ``Access``,
    ``recognises_tasks``, ``tools_auto`` and ``creating`` are those of ``Gateway``. Pages of the
    ``cors_origins`` may use the gateway. ``vllm_names`` is that of ``ServedFacts``. There are ``gateways`` of
    these. With a ``metrics_address`` the metrics are served there, and not beside the other routes; every
    ``metrics_push_seconds``, if that is not None, the first gateway pushes them. With ``grows`` other
    machines may join with a gateway; ``joined`` says of one that it is theirs, and has no file of the store.
    """

    host: str
    port: int
    hosts: int
    shards: int
    base: BaseInfo
    turn_seconds_max: float
    body_bytes_max: int
    archive_bytes_max: int
    file_bytes_max: int
    tenant_file_bytes_max: int
    destination: AdapterStore
    master_key: Path | None
    cluster_key: str
    recognises_tasks: bool
    cors_origins: tuple[str, ...] = ()
    tools_auto: str = "none"
    creating: frozenset[str] | None = frozenset()
    telemetry: TelemetryOptions | None = None
    vllm_names: bool = False
    engine_nodes: EngineNodes | None = None
    metrics_address: tuple[str, int] | None = None
    metrics_push_seconds: float | None = None
    home: Home | None = None
    gateways: int = 1
    grows: bool = False
    joined: JoinedGateway | None = None
    states: StateFormat | None = None

    def on_this_node(self) -> "GatewayOptions":
        """Return the options with the paths and the address of the node that this process is on.

        Raises ``SETTINGS_REFUSED``.
        """
        if self.joined is not None:
            return self._listening(Settings.from_environment())
        own = own_settings(self.home)
        if own is None:
            return self
        base = own_base(own, self.base.fingerprint)
        return self._listening(own)._replace(
            destination=self.destination._replace(data_directory=own.data, base_directory=base),
            master_key=own.master_key,
            telemetry=own_telemetry(self.home, self.telemetry),
        )

    def _listening(self, own: Settings) -> "GatewayOptions":
        """Return the options with the addresses that a node's own settings name."""
        named = own.model_fields_set
        host, port = self.metrics_address or (own.metrics_host, None)
        host, port = own.metrics_host if "metrics_host" in named else host, own.metrics_port or port
        return self._replace(
            host=own.host if "host" in named else self.host,
            port=own.port if "port" in named else self.port,
            metrics_address=None if port is None else (host, port),
        )

    def adapters(self) -> RevisionFiles:
        """Return the adapters of the store; those that this node lacks come from the journal, if any."""
        return stored_adapters(
            self.destination.data_directory,
            store_id=None if self.home is None else self.home.store_id,
            journal=None if self.home is None else self.home.journal,
            master_key=self.master_key,
        )


class GatewayReplica:
    """Serves HTTP as long as the replica lives."""

    async def __init__(self, options: GatewayOptions) -> None:  # type: ignore[misc]
        end_with_parent()
        with contextlib.nullcontext() if options.joined is None else noted_start("gateway"):
            await self._start(await asyncio.to_thread(options.on_this_node))

    async def _start(self, options: GatewayOptions) -> None:
        self._joined = options.joined
        number = self._number()
        self._end_telemetry = telemetry_setup(options.telemetry, "gateway", number)
        listener = bind(options.host, options.port)
        private = None if options.metrics_address is None else bind(*options.metrics_address)
        gateways = RayGateways(
            APPLICATION, DEPLOYMENT, options.gateways, self._own_report, grows=options.grows
        )
        self._hosts = {host_name(index): connect_host(index) for index in range(options.hosts)}
        app = application_of(options, self._hosts, gateways)
        self._gateway: Gateway = app.state.gateway
        self._address = f"{options.host}:{options.port}"
        inner = None
        if options.grows and options.joined is None:
            inner = InnerListener(app, get_node_ip_address())
        self._inner = None if inner is None else inner.address
        listeners: list[tuple[Server, socket.socket]] = [(Server(app), listener)]
        if private is not None:
            listeners.append((Server(metrics_app(app)), private))
        if inner is not None:
            listeners.append((inner.server, inner.listening))
        self._servers = [server for server, _ in listeners]
        self._serving = [asyncio.create_task(server.serve(sockets=[bound])) for server, bound in listeners]
        # One of them, as each tells of all.
        seconds = options.metrics_push_seconds if number == 0 else None
        self._push = (
            None if seconds is None else start_metrics_push(self._gateway, number=number, seconds=seconds)
        )

    async def tell(self, with_figures: bool) -> GatewayReport:
        """Return what this gateway says of itself, to another one that tells of all."""
        return self._own_report(with_figures)

    async def finish(self) -> GatewayWork:
        """Take no new work from here on, and say what runs. To be called until nothing does."""
        self._gateway.intake.close()
        callers = tuple(host.caller for host in self._hosts.values())
        return GatewayWork(self._gateway.intake.running, callers)

    async def inner_address(self) -> InnerAddress | None:
        """Return where this gateway takes what others pass on; None if it takes nothing."""
        return self._inner

    def _own_report(self, with_figures: bool) -> GatewayReport:
        if not with_figures:
            return GatewayReport(self._number(), self._address)
        routed = self._gateway.probe_engine.routed()
        return self._gateway.metrics.own(self._number(), self._address, routed)

    def _number(self) -> int:
        """This gateway's number, from 0 on. Serve gives that of one that ended to the next."""
        return serve.get_replica_context().rank.rank if self._joined is None else self._joined.number

    async def check_health(self) -> None:
        """Raise if a server ended: Serve then replaces this replica."""
        if any(serving.done() for serving in self._serving):
            raise RuntimeError("the HTTP server ended")

    async def __del__(self) -> None:
        # Ray Serve's documented hook for graceful shutdown; there is no other one.
        try:
            await end_servers(self._servers, self._serving, ANSWER_SECONDS_MAX)
            if self._push is not None:
                await self._push.close()
        finally:
            await asyncio.to_thread(self._end_telemetry)


def application_of(
    options: GatewayOptions, clients: Mapping[str, RayHostClient], gateways: RayGateways
) -> FastAPI:
    """Build the application over the hosts, by their names, and the replicas of the running population."""
    engine = ReplicaEngine(options.base, options.engine_nodes)
    traced = MeteredEngine(TracedEngine(engine))
    directory = Directory.over(tuple(clients.values()), shard_count=options.shards)
    return create_app(
        directory,
        traced,
        probe_engine=engine,
        probe_hosts=HostSurvey(clients, shard_count=options.shards),
        turn_seconds_max=options.turn_seconds_max,
        body_bytes_max=options.body_bytes_max,
        cluster_key=options.cluster_key,
        recognises_tasks=options.recognises_tasks,
        cors_origins=options.cors_origins,
        embedder=engine,
        tools_auto=options.tools_auto,
        creating=options.creating,
        vllm_names=options.vllm_names,
        probe_trainer=RayTrainerProbe(),
        probe_gateways=gateways,
        has_metrics=options.metrics_address is None,
        **(_passing_on if options.joined else _with_files)(options, directory, traced, gateways),
    )


def _with_files(
    options: GatewayOptions, directory: Directory, engine: Engine, gateways: RayGateways
) -> dict[str, Any]:
    """Return what answers the requests that need the store's files, where these are."""
    del gateways
    locks = MachineLocks(options.destination.data_directory / LOCKS_FILE)
    work = FileWork(locks, bytes_max=options.archive_bytes_max)
    adapters = options.adapters()
    uploads = UploadFiles.of_store(options.destination.data_directory, options.master_key)
    telemetry = options.telemetry
    return {
        "archive_service": ArchiveService(
            directory, options.destination, work, adapters=adapters, states=options.states
        ),
        "adapter_service": AdapterService(directory, options.destination, work, adapters=adapters),
        "aggregator": aggregator_over(directory, engine, options.destination.data_directory, adapters),
        "logs_directory": None if telemetry is None else telemetry.directory,
        "traces_directory": None if telemetry is None else telemetry.traces_directory,
        "upload_service": UploadService(
            uploads,
            work,
            bytes_max=options.file_bytes_max,
            tenant_bytes_max=options.tenant_file_bytes_max,
        ),
    }


def _passing_on(
    options: GatewayOptions, directory: Directory, engine: Engine, gateways: RayGateways
) -> dict[str, Any]:
    """Return what passes them on, elsewhere. A replica finds adapters by their digests."""
    return {
        "aggregator": aggregator_over(directory, engine, options.destination.data_directory),
        "forwarder": Forwarder(
            gateways.inner_addresses,
            archive_bytes_max=options.archive_bytes_max,
            file_bytes_max=options.file_bytes_max,
        ),
    }


def gateway_application(
    options: GatewayOptions,
    *,
    environment: dict[str, str],
    nodes: dict[str, str] | None = None,
    preferred: str | None = None,
) -> serve.Application:
    """Describe the gateways' deployment, on a node with these labels, ``preferred`` as long as it lives."""
    deployment = _serve.deployment(
        GatewayReplica,
        name=DEPLOYMENT,
        num_replicas=options.gateways if options.joined is None else 1,
        health_check_period_s=HEALTH_SECONDS,
        # No request comes through Serve, so there is none to wait for before the replica is told to end.
        graceful_shutdown_wait_loop_s=0,
        graceful_shutdown_timeout_s=STOP_SECONDS_MAX,
        logging_config=SERVE_LOGGING,
        ray_actor_options={
            "num_cpus": 0,
            **placed(nodes, preferred),
            "runtime_env": {"env_vars": environment},
        },
    )
    return deployment.bind(options)
