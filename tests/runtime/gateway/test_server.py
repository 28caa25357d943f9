"""A gateway ends within the time that Serve gives it, whatever its clients do."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from populace.engines.options import EngineOptions
from populace.engines.replica import engine_application
from populace.gateway import deployment, server
from populace.gateway.deployment import gateway_application
from populace.gateway.http.event_stream import EventStream
from populace.gateway.server import Server, bind, end_servers
from populace.node_files.ray_hosts import StoreHosts
from populace.telemetry.metrics_push import push
from populace.telemetry.tracing import export_queue
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.gateway_options import gateway_options
from tests.runtime.gateway.scripted_engine import BASE

TELEMETRY_SECONDS_MAX = export_queue.CLOSE_SECONDS_MAX + export_queue.LAST_SECONDS_MAX


async def test_a_server_has_ended_when_that_is_said_also_while_a_stream_goes_on() -> None:
    app, go_on = FastAPI(), asyncio.Event()

    async def parts() -> AsyncGenerator[bytes, None]:
        yield b"first"
        await go_on.wait()
        yield b"last"

    @app.get("/")
    async def stream() -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        return StreamingResponse(parts())

    listener = bind("127.0.0.1", 0)
    listener.listen()
    server = Server(app)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(HANG_SECONDS):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: populace\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"first")

        await end_servers([server], [serving], 0.5)

        assert serving.done()
        go_on.set()
        assert b"last" in await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_a_connection_whose_client_reads_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UNREAD_SECONDS_MAX", 1)
    app, closed = FastAPI(), asyncio.Event()

    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            closed.set()

    @app.get("/")
    async def stream() -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        events = parts()
        return EventStream(events, events, {})

    listener = bind("127.0.0.1", 0)
    listener.listen()
    serving = Server(app)
    task = asyncio.create_task(serving.serve(sockets=[listener]))
    async with asyncio.timeout(HANG_SECONDS):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: populace\r\n\r\n")

        await closed.wait()
        await end_servers([serving], [task], 0.5)

    writer.close()


def options_of(application: Any) -> Any:
    """Return how Serve runs the deployment of an application."""
    return application._bound_deployment._deployment_config


def test_serve_waits_for_a_gateways_requests_and_what_it_has_to_tell(tmp_path: Path) -> None:
    options = gateway_options(tmp_path)

    served = options_of(gateway_application(options, environment={}))

    needed = deployment.ANSWER_SECONDS_MAX + push.CLOSE_SECONDS_MAX + TELEMETRY_SECONDS_MAX
    assert served.graceful_shutdown_wait_loop_s + needed < served.graceful_shutdown_timeout_s


def test_serve_waits_for_an_engine_and_what_it_has_to_tell(tmp_path: Path) -> None:
    options = EngineOptions(tmp_path, BASE.fingerprint, 100)

    hosts = StoreHosts("populace", ("populace-host-0",))
    served = options_of(engine_application("torch", options, hosts, gpus=0, replicas=1, environment={}))

    # As long as a gateway goes on with its requests, those to the engine do.
    needed = deployment.ANSWER_SECONDS_MAX + TELEMETRY_SECONDS_MAX
    assert served.graceful_shutdown_wait_loop_s + needed < served.graceful_shutdown_timeout_s
