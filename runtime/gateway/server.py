"""The HTTP server of one gateway process.

What comes before a request's body has a bound, which uvicorn leaves open.
A head is in memory before there is a request that a route or a middleware could refuse.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator, Sequence

import uvicorn
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from populace.actors.errors import InvalidRequest
from populace.actors.request_head import RequestHeadTooLarge
from populace.gateway.http.errors import error_response

HEAD_BYTES_MAX = 32 * 1024
"""A request line and the headers together; clients' own have about one kilobyte."""

HEADERS_MAX = 100

LINGER_SECONDS = 2.0
"""How long it is still read what a refused client sends. A connection that is closed before is reset, and the
response lost."""


class _Refused(Exception):
    """Ends the parsing of a head."""


class Connection(HttpToolsProtocol):
    """Refuses heads that are too large, and requests of HTTP/1.1 that do not say for which host they are."""

    _reads_head = True
    _heads = 0
    _head_bytes = 0
    _refusal: JSONResponse | None = None
    _is_refused = False

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        was_reading_head, heads = self._reads_head, self._heads
        super().data_received(data)
        if not (was_reading_head and self._reads_head) or self._heads != heads:
            # What came with the end of the request before is counted when the head is complete.
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX and not self._is_refused:
            self._refusal = _too_large()
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        self._reads_head = False
        self._heads += 1
        self._refusal = self._reason_to_refuse()
        if self._refusal is not None:
            raise _Refused  # which the parser ends with, so that uvicorn sends a response of status 400
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._reads_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Send the refusal, if it is one of ours, and close the connection when its client has that."""
        refusal = self._refusal
        if refusal is None:
            super().send_400_response(msg)
            return
        headers = [*self.server_state.default_headers, *refusal.raw_headers, (b"connection", b"close")]
        lines = [STATUS_LINE[refusal.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join((*lines, refusal.body)))
        self._is_refused = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _reason_to_refuse(self) -> JSONResponse | None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEAD_BYTES_MAX or len(self.headers) > HEADERS_MAX:
            return _too_large()
        assert self.parser is not None, "it calls this"
        if self.parser.get_http_version() == "1.1":
            hosts = sum(name == b"host" for name, _ in self.headers)
            if hosts != 1:
                message = f"A request of HTTP/1.1 has one Host header, and here are {hosts}."
                return error_response(InvalidRequest(message, "Host"))
        return None


def _too_large() -> JSONResponse:
    return error_response(RequestHeadTooLarge(HEAD_BYTES_MAX, HEADERS_MAX))


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
