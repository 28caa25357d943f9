"""The HTTP server of one gateway process."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator, Sequence

import uvicorn
from starlette.types import ASGIApp

from populace.gateway.connection import Connection

BACKLOG = 2048

KEEP_ALIVE_SECONDS = 75
"""How long idle connections are kept: longer than by clients (httpx 5 s), so that the client closes first
and no request arrives at a connection that is being closed."""

UNREAD_SECONDS_MAX = 120
"""How long a client may take nothing of what is sent to it. Then its connection is closed, and what is made
for it ends."""


class Server(uvicorn.Server):
    """Uvicorn inside a replica, without signal handlers, which are Ray's, and without WebSockets."""

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                # Its loggers go where all others do.
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                http=Connection,
                lifespan="off",
                ws="none",
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        if tls is not None:
            # Uvicorn itself takes key and certificate from files, and when it begins to serve.
            self.config.load()
            self.config.ssl = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def end_servers(
    servers: Sequence[Server], serving: Sequence["asyncio.Task[None]"], seconds_max: float
) -> None:
    """Accept no more, and return when the tasks that serve have ended.

    Requests that are being answered have ``seconds_max`` for that; what is left ends with the process.
    """
    for server in servers:
        server.should_exit = True
    _, left = await asyncio.wait(serving, timeout=seconds_max)
    for task in left:
        task.cancel()
    # A server that failed was reported by the health check, and must not keep the others from ending.
    await asyncio.gather(*serving, return_exceptions=True)


def bind(host: str, port: int) -> socket.socket:
    """Listen on the port; raises ``OSError`` if another process has it.

    Connections whose clients do not answer or do not read for ``UNREAD_SECONDS_MAX`` are closed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Connections have it from the listener. Closing one by asyncio would wait until its client reads.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS_MAX * 1000)
    listener.bind((host, port))
    listener.setblocking(False)
    return listener
