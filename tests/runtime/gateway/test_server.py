"""A gateway ends within the time that Serve gives it, whatever its clients do."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from populace.engines.options import EngineOptions
from populace.engines.replica import engine_application
from populace.gateway import deployment
from populace.gateway.deployment import GatewayOptions, gateway_application
from populace.gateway.server import Server, bind, end_servers
from populace.storage.adapter_store import AdapterStore
from populace.telemetry.metrics_push import push
from populace.telemetry.tracing import export_queue
from tests.limits import HANG_SECONDS
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


def options_of(application: Any) -> Any:
    """Return how Serve runs the deployment of an application."""
    return application._bound_deployment._deployment_config


def test_serve_waits_for_a_gateways_requests_and_what_it_has_to_tell(tmp_path: Path) -> None:
    options = GatewayOptions(
        host="127.0.0.1",
        port=8000,
        hosts=1,
        shards=1,
        base=BASE,
        turn_seconds_max=1.0,
        body_bytes_max=1,
        archive_bytes_max=1,
        file_bytes_max=1,
        tenant_file_bytes_max=1,
        destination=AdapterStore(tmp_path, tmp_path, BASE.fingerprint, 1),
        master_key=None,
        cluster_key="",
        recognises_tasks=False,
    )

    served = options_of(gateway_application(options, environment={}))

    needed = deployment.ANSWER_SECONDS_MAX + push.CLOSE_SECONDS_MAX + TELEMETRY_SECONDS_MAX
    assert served.graceful_shutdown_wait_loop_s + needed < served.graceful_shutdown_timeout_s


def test_serve_waits_for_an_engine_and_what_it_has_to_tell(tmp_path: Path) -> None:
    options = EngineOptions(tmp_path, BASE.fingerprint, 100)

    served = options_of(engine_application("torch", options, gpus=0, replicas=1, environment={}))

    # As long as a gateway goes on with its requests, those to the engine do.
    needed = deployment.ANSWER_SECONDS_MAX + TELEMETRY_SECONDS_MAX
    assert served.graceful_shutdown_wait_loop_s + needed < served.graceful_shutdown_timeout_s
