"""The gateway under Ray Serve: a deployment that listens by itself.

Serve starts it, checks its health, replaces and scales it. HTTP does not pass through Serve's
proxy: that would be one more process for every token of every stream. Several gateways of a node
share the port (SO_REUSEPORT).
"""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from ray import serve

from populace.actors.engine import BaseInfo
from populace.engines.client import ReplicaEngine
from populace.engines.traced_engine import TracedEngine
from populace.gateway.app import create_app, metrics_app
from populace.gateway.fine_tuning.upload_service import UploadService
from populace.gateway.http.file_work import FileWork
from populace.gateway.metrics_push import start_metrics_push
from populace.gateway.personal_models.adapter_service import AdapterService
from populace.gateway.personal_models.archive_service import ArchiveService
from populace.gateway.server import Server, bind, end_servers
from populace.gateway.trainer_probe import RayTrainerProbe
from populace.hosting.aggregation import aggregator_over
from populace.hosting.directory import Directory
from populace.hosting.host_client import connect_host
from populace.hosting.host_survey import HostSurvey
from populace.hosting.messages import host_name
from populace.storage.adapter_store import AdapterStore
from populace.storage.uploads.upload_files import UploadFiles
from populace.telemetry.options import TelemetryOptions
from populace.telemetry.serve_log import SERVE_LOGGING
from populace.telemetry.tracing.setup import telemetry_setup

# Ray Serve's types leave parameters and results unknown to a strict checker.
_serve: Any = serve

APPLICATION = "populace-gateway"
DEPLOYMENT = "gateway"

ANSWER_SECONDS_MAX = 4.0
"""How long a gateway that is to end goes on with the requests that it has."""
STOP_SECONDS_MAX = 10.0
"""How long Serve waits for a gateway's end: for its requests, its last metrics, and its log and traces."""


class GatewayOptions(NamedTuple):
    """How to start a gateway.

    ``turn_seconds_max`` bounds a turn, ``body_bytes_max`` a request, and ``archive_bytes_max`` one that
    brings an archive or an adapter; adapters go to ``destination``. An uploaded file has at most
    ``file_bytes_max``, all of a tenant ``tenant_file_bytes_max``; ``master_key`` is the file of the key that
    wraps theirs, None the one in the store. ``cluster_key`` is that of ``Access``,
    ``recognises_tasks`` and ``tools_auto`` are those of ``Gateway``. Pages of the ``cors_origins`` may use
    the gateway. ``replicas`` and ``vllm_names`` are those of ``ServedFacts``. With a
    ``metrics_address`` the metrics are served there, and not beside the other routes; every
    ``metrics_push_seconds``, if that is not None, they are pushed.
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
    tools_auto: str = "refuse"
    telemetry: TelemetryOptions | None = None
    vllm_names: bool = False
    replicas: int = 1
    metrics_address: tuple[str, int] | None = None
    metrics_push_seconds: float | None = None


class GatewayReplica:
    """Serves HTTP as long as the replica lives."""

    async def __init__(self, options: GatewayOptions) -> None:  # type: ignore[misc]
        number = serve.get_replica_context().rank.rank
        self._end_telemetry = telemetry_setup(options.telemetry, "gateway", number)
        listener = bind(options.host, options.port)
        private = None if options.metrics_address is None else bind(*options.metrics_address)
        clients = {host_name(index): connect_host(index) for index in range(options.hosts)}
        engine = ReplicaEngine(options.base)
        traced = TracedEngine(engine)
        directory = Directory(tuple(clients.values()), shard_count=options.shards)
        work = FileWork(bytes_max=options.archive_bytes_max)
        uploads = UploadFiles.of_store(options.destination.data_directory, options.master_key)
        app = create_app(
            directory,
            traced,
            probe_engine=engine,
            probe_hosts=HostSurvey(clients, shard_count=options.shards),
            turn_seconds_max=options.turn_seconds_max,
            body_bytes_max=options.body_bytes_max,
            cluster_key=options.cluster_key,
            recognises_tasks=options.recognises_tasks,
            archive_service=ArchiveService(directory, options.destination, work),
            adapter_service=AdapterService(directory, options.destination, work),
            aggregator=aggregator_over(directory, traced, options.destination.data_directory),
            cors_origins=options.cors_origins,
            embedder=engine,
            tools_auto=options.tools_auto,
            vllm_names=options.vllm_names,
            replicas=options.replicas,
            probe_trainer=RayTrainerProbe(),
            has_metrics=private is None,
            logs_directory=None if options.telemetry is None else options.telemetry.directory,
            traces_directory=None if options.telemetry is None else options.telemetry.traces_directory,
            upload_service=UploadService(
                uploads,
                work,
                bytes_max=options.file_bytes_max,
                tenant_bytes_max=options.tenant_file_bytes_max,
            ),
        )
        listeners = [(app, listener)] if private is None else [(app, listener), (metrics_app(app), private)]
        self._servers = [Server(served) for served, _ in listeners]
        self._serving = [
            asyncio.create_task(server.serve(sockets=[bound]))
            for server, (_, bound) in zip(self._servers, listeners, strict=True)
        ]
        seconds = options.metrics_push_seconds
        self._push = (
            None if seconds is None else start_metrics_push(app.state.gateway, number=number, seconds=seconds)
        )

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


def gateway_application(
    options: GatewayOptions, *, environment: dict[str, str], nodes: dict[str, str] | None = None
) -> serve.Application:
    """Describe the deployment of the gateway, on a node with these labels."""
    deployment = _serve.deployment(
        GatewayReplica,
        name=DEPLOYMENT,
        health_check_period_s=10,
        # No request comes through Serve, so there is none to wait for before the replica is told to end.
        graceful_shutdown_wait_loop_s=0,
        graceful_shutdown_timeout_s=STOP_SECONDS_MAX,
        logging_config=SERVE_LOGGING,
        ray_actor_options={
            "num_cpus": 0,
            "label_selector": nodes or {},
            "runtime_env": {"env_vars": environment},
        },
    )
    return deployment.bind(options)
