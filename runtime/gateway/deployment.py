"""The gateway under Ray Serve: a deployment that listens by itself.

Serve starts it, checks its health, replaces and scales it. HTTP does not pass through Serve's
proxy: that would be one more process for every token of every stream. Several gateways of a node
share the port (SO_REUSEPORT).
"""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any, NamedTuple

import ray
import uvicorn
from fastapi import FastAPI
from ray import serve

from populace.actors.engine import BaseInfo
from populace.directory import Directory
from populace.engines.client import ReplicaEngine
from populace.gateway.app import create_app
from populace.host_actor import NAMESPACE, RayHostClient, host_name

APPLICATION = "populace-gateway"
DEPLOYMENT = "gateway"

BACKLOG = 2048


class GatewayOptions(NamedTuple):
    """How to start a gateway. ``turn_seconds_max`` bounds a turn, ``body_bytes_max`` a request."""

    host: str
    port: int
    hosts: int
    shards: int
    base: BaseInfo
    turn_seconds_max: float
    body_bytes_max: int


class Server(uvicorn.Server):
    """Uvicorn inside a replica: signals are Ray's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class GatewayReplica:
    """Serves HTTP as long as the replica lives."""

    async def __init__(self, options: GatewayOptions) -> None:  # type: ignore[misc]
        listener = bind(options.host, options.port)
        clients = [connect_host(index) for index in range(options.hosts)]
        engine = ReplicaEngine(options.base)
        app = create_app(
            Directory(clients, shard_count=options.shards),
            engine,
            probe_engine=engine.replica_statistics,
            turn_seconds_max=options.turn_seconds_max,
            body_bytes_max=options.body_bytes_max,
        )
        self._server = Server(server_config(app))
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def check_health(self) -> None:
        """Raise if the server ended: Serve then replaces this replica."""
        if self._serving.done():
            raise RuntimeError("the HTTP server ended")

    async def __del__(self) -> None:
        # Ray Serve's documented hook for graceful shutdown; there is no other one.
        self._server.should_exit = True
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self._serving, timeout=5)


def server_config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", ws="none", backlog=BACKLOG
    )


def bind(host: str, port: int) -> socket.socket:
    """Listen on the port; raises ``OSError`` if somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener


def connect_host(index: int) -> RayHostClient:
    """Find a running host; raises ``ValueError`` if there is none of that index."""
    name = host_name(index)
    handle: Any = ray.get_actor(name, namespace=NAMESPACE)
    return RayHostClient(handle, name)


def gateway_application(options: GatewayOptions, *, environment: dict[str, str]) -> serve.Application:
    deployment = serve.deployment(
        GatewayReplica,
        name=DEPLOYMENT,
        health_check_period_s=10,
        graceful_shutdown_timeout_s=5,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": environment}},
    )
    return deployment.bind(options)
