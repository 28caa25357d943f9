"""Tells a host that the process of a caller is gone: a connection that its kernel closes for it.

A caller that was granted a turn and dies would keep the model busy until the turn's deadline. Ray does not
tell an actor that its caller died, and a caller that has to say every second that it lives is taken for dead
when its machine is busy. A connection ends with the process, whatever that is doing, and with
its machine: the kernel looks for the other end while nothing is sent.
"""

import asyncio
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import NamedTuple, cast

logger = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""How long a caller whose connection broke may take to come back before it counts as gone."""

RETRY_SECONDS = 0.5
HELLO_SECONDS_MAX = 10.0
_NAME_BYTES = 32
_KEEPALIVE = {socket.TCP_KEEPIDLE: 2, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 3}
"""The other machine counts as lost after five seconds in which its kernel did not answer."""


class PresenceAddress(NamedTuple):
    """Where a host takes the connections of its callers."""

    host: str
    port: int


class PresenceListener:
    """The host's end. ``on_gone`` is called, on the event loop, with the name of each caller that is gone.

    ``interface`` returns the address of this machine at which callers reach it.
    """

    def __init__(self, interface: Callable[[], str], on_gone: Callable[[str], None]) -> None:
        self._interface = interface
        self._on_gone = on_gone
        self._callers: Counter[str] = Counter()
        self._connections: set[_Attended] = set()
        self._starting: asyncio.Task[asyncio.Server] | None = None

    async def address(self) -> PresenceAddress:
        """Return where callers connect; listens from the first time on. Raises ``OSError``."""
        if self._starting is None:
            loop = asyncio.get_running_loop()
            self._starting = asyncio.create_task(
                loop.create_server(lambda: _Attended(self), self._interface(), 0)
            )
        server = await asyncio.shield(self._starting)
        return PresenceAddress(*server.sockets[0].getsockname()[:2])

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._starting is not None:
            (await self._starting).close()
        for connection in tuple(self._connections):
            connection.end()

    def opened(self, connection: "_Attended") -> None:
        self._connections.add(connection)

    def named(self, caller: str) -> None:
        self._callers[caller] += 1

    def closed(self, connection: "_Attended", caller: str | None) -> None:
        self._connections.discard(connection)
        if caller is not None:
            self._callers[caller] -= 1
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._look, caller)

    def _look(self, caller: str) -> None:
        if caller in self._callers and not self._callers[caller]:
            del self._callers[caller]
            self._on_gone(caller)


class _Attended(asyncio.Protocol):
    """A connection of a caller, which sends its name and nothing more."""

    def __init__(self, listener: PresenceListener) -> None:
        self._listener = listener
        self._name = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's, on which Ray runs its actors, are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        _keep_alive(transport)
        self._listener.opened(self)
        asyncio.get_running_loop().call_later(HELLO_SECONDS_MAX, self._expect_name)

    def data_received(self, data: bytes) -> None:
        if self._caller is None:
            self._name += data[: _NAME_BYTES - len(self._name)]
            if self._caller is not None:
                self._listener.named(self._caller)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._listener.closed(self, self._caller)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def _caller(self) -> str | None:
        return self._name.hex() if len(self._name) == _NAME_BYTES else None

    def _expect_name(self) -> None:
        if self._caller is None:
            self.end()


class Presence:
    """The caller's end: from ``begin`` on it is connected to the host, for as long as the event loop runs.

    ``address`` asks the host where to connect, and may raise anything while the host restarts.
    """

    def __init__(self, address: Callable[[], Awaitable[PresenceAddress]]) -> None:
        self._name = secrets.token_bytes(_NAME_BYTES)
        self.caller = self._name.hex()
        """The name by which the host knows this caller."""
        self._address = address
        self._staying: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Connect to the host in the background, if that was not begun."""
        staying = self._staying
        if staying is None or staying.done() or staying.get_loop() is not asyncio.get_running_loop():
            # Its log lines are not those of the request that happens to be the first.
            self._staying = asyncio.create_task(self._stay(), context=Context())

    async def _stay(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                transport, present = await loop.create_connection(_Present, *await self._address())
            except Exception as error:  # the host restarts, or its port cannot be reached from here
                logger.debug("not connected to the host: %s", error)
            else:
                try:
                    transport.write(self._name)
                    await present.ended
                finally:
                    transport.abort()
            await asyncio.sleep(RETRY_SECONDS)


class _Present(asyncio.Protocol):
    """A connection to a host; ``ended`` is done when it is lost."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _keep_alive(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.ended.done():
            self.ended.set_result(None)


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
