"""Tells a host that the process of a caller is gone: a connection that its kernel closes for it.

A caller that was granted a turn and dies would keep the model busy until the turn's deadline. Ray does not
tell an actor that its caller died, and a caller that has to say every second that it lives is taken for dead
when its machine is busy. A connection ends with the process, whatever that is doing, and with
its machine: the kernel looks for the other end while nothing is sent.

Nothing secret crosses the connection. The host sends a challenge, and the caller answers with its name and a
proof, an HMAC over both with the host's key, which travels with the address through Ray. So what a stranger
sends who reaches the port, or who saw another's connection, names no caller: it cannot end one's turns, nor
keep them when the caller is gone. The connection of a stranger ends with its wrong answer or after
``HELLO_SECONDS_MAX``, and few may wait so long.
"""

import asyncio
import contextlib
import hmac
import logging
import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import NamedTuple, cast

from populace.settings.ports import bind_first, stream_ports

logger = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""How long a caller whose connection broke may take to come back before it counts as gone."""

RETRY_SECONDS = 0.5
HELLO_SECONDS_MAX = 10.0
NAMELESS_MAX = 64
"""Connections that have not said yet who they are; the oldest makes room. A caller then comes again."""

_CHALLENGE_BYTES = 32
_NAME_BYTES = 32
_PROOF_BYTES = 32
_KEEPALIVE = {socket.TCP_KEEPIDLE: 2, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 3}
"""The other machine counts as lost after five seconds in which its kernel did not answer."""


class PresenceAddress(NamedTuple):
    """Where a host takes the connections of its callers, and the key by which they prove what they are."""

    host: str
    port: int
    key: bytes

    def __repr__(self) -> str:
        return f"PresenceAddress({self.host!r}, {self.port})"


class PresenceListener:
    """The host's end. ``on_gone`` is called, on the event loop, with the name of each caller that is gone.

    ``interface`` returns the address of this machine at which callers reach it.
    """

    def __init__(self, interface: Callable[[], str], on_gone: Callable[[str], None]) -> None:
        self._interface = interface
        self._on_gone = on_gone
        self._key = secrets.token_bytes(32)
        self._callers: Counter[str] = Counter()
        self._connections: set[_Attended] = set()
        self._nameless: dict[_Attended, None] = {}
        self._starting: asyncio.Task[asyncio.Server] | None = None
        self._has_failed = False

    async def address(self) -> PresenceAddress:
        """Return where callers connect; listens from the first time on. Raises ``OSError``."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        starting = self._starting
        try:
            server = await asyncio.shield(starting)
        except OSError as error:
            if self._starting is starting:
                # A port may be free the next time. Callers come again twice a second.
                self._starting = None
                if not self._has_failed:
                    logger.warning("cannot listen for callers that end, who keep their turns: %s", error)
                self._has_failed = True
            raise
        self._has_failed = False
        host, port = server.sockets[0].getsockname()[:2]
        return PresenceAddress(host, port, self._key)

    async def _start(self) -> asyncio.Server:
        listening = listening_socket(self._interface(), stream_ports())
        return await asyncio.get_running_loop().create_server(
            lambda: _Attended(self, self._key), sock=listening
        )

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._starting is not None:
            with contextlib.suppress(OSError):
                (await self._starting).close()
        for connection in tuple(self._connections):
            connection.end()

    def opened(self, connection: "_Attended") -> None:
        self._connections.add(connection)
        self._nameless[connection] = None
        if len(self._nameless) > NAMELESS_MAX:
            oldest = next(iter(self._nameless))
            del self._nameless[oldest]
            oldest.end()

    def named(self, connection: "_Attended", caller: str) -> None:
        self._nameless.pop(connection, None)
        self._callers[caller] += 1

    def closed(self, connection: "_Attended", caller: str | None) -> None:
        self._connections.discard(connection)
        self._nameless.pop(connection, None)
        if caller is not None:
            self._callers[caller] -= 1
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._look, caller)

    def _look(self, caller: str) -> None:
        if caller in self._callers and not self._callers[caller]:
            del self._callers[caller]
            self._on_gone(caller)


class _Attended(asyncio.Protocol):
    """A connection to the host, which is a caller's once it has answered the challenge."""

    def __init__(self, listener: PresenceListener, key: bytes) -> None:
        self._listener = listener
        self._key = key
        self._challenge = secrets.token_bytes(_CHALLENGE_BYTES)
        self._answer = b""
        self._caller: str | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's, on which Ray runs its actors, are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        _keep_alive(transport)
        self._transport.write(self._challenge)
        self._listener.opened(self)
        asyncio.get_running_loop().call_later(HELLO_SECONDS_MAX, self._expect_name)

    def data_received(self, data: bytes) -> None:
        self._answer += data[: _NAME_BYTES + _PROOF_BYTES + 1 - len(self._answer)]
        name, proof = self._answer[:_NAME_BYTES], self._answer[_NAME_BYTES:]
        if len(proof) < _PROOF_BYTES:
            return
        # A caller says nothing more.
        if self._caller is None and hmac.compare_digest(proof, _proof(self._key, self._challenge, name)):
            self._caller = name.hex()
            self._listener.named(self, self._caller)
        else:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._listener.closed(self, self._caller)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

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
                host, port, key = await self._address()
                transport, present = await loop.create_connection(
                    partial(_Present, self._name, key), host, port
                )
            except Exception as error:  # the host restarts, or its port cannot be reached from here
                logger.debug("not connected to the host: %s", error)
            else:
                try:
                    await present.ended
                finally:
                    transport.abort()
            await asyncio.sleep(RETRY_SECONDS)


class _Present(asyncio.Protocol):
    """A connection to a host, whose challenge it answers; ``ended`` is done when it is lost."""

    def __init__(self, name: bytes, key: bytes) -> None:
        self._name = name
        self._key = key
        self._challenge = b""
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        _keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        missing = _CHALLENGE_BYTES - len(self._challenge)
        self._challenge += data[:missing]
        if missing and len(self._challenge) == _CHALLENGE_BYTES and self._transport is not None:
            self._transport.write(self._name + _proof(self._key, self._challenge, self._name))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.ended.done():
            self.ended.set_result(None)


def _proof(key: bytes, challenge: bytes, name: bytes) -> bytes:
    return hmac.digest(key, challenge + name, "sha256")


def listening_socket(interface: str, ports: range | None) -> socket.socket:
    """Listen at this address on the first of the ports that is free, or on any. Raises ``OSError``."""
    family = socket.getaddrinfo(interface, None, type=socket.SOCK_STREAM)[0][0]
    if ports is None:
        return socket.create_server((interface, 0), family=family)
    return bind_first(ports, lambda port: socket.create_server((interface, port), family=family))


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
