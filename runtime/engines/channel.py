"""A side channel for tokens: from a replica straight to the process that reads the stream.

Ray carries the request, its errors and its cancellation. The tokens take this way because a
streamed Ray result costs a process hop per token and request, while here all tokens that one
engine step made for one reader leave in a single message (measured: ``docs/measurements``).

A message is the msgpack array of ``[stream id, run, sequence number, delta fields]``. Stream ids
are 128 random bits that only the reader and the replica know; unknown ones are dropped. A gap in
the sequence numbers means a lost message: the reader ends the stream with an error. So does a row that
cannot be read.

Messages are encrypted and authenticated by CurveZMQ (https://rfc.zeromq.org/spec/26/). A reader makes a
pair of keys when it starts. Its public key travels through Ray, in the stream's target, and is nowhere
else: without it ZeroMQ completes no handshake, so only replicas that were sent a request can write to the
reader, and only the reader can read what they write. Replicas have a pair of their own that is not checked.

A row without delta fields says that the replica works on it, and which sequence number is next.
Replicas send one a second for all that they run, so that a stream tells a reply that takes long
from one that never comes. Ray may bring one request to two replicas: each draws a random run, and
the run whose message comes first counts.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import Context
from typing import Any, NamedTuple, cast, get_args

import msgpack
import zmq
import zmq.asyncio

from populace.actors.engine import Delta, FinishReason, PromptRead, TokenLogprob
from populace.actors.errors import EngineUnavailable
from populace.settings.ports import bind_first

logger = logging.getLogger(__name__)

_msgpack: Any = msgpack  # it has no type annotations

FINISH_REASONS = get_args(FinishReason)

READERS_MAX = 64
"""Reader sockets that a replica keeps open; the one used longest ago is closed first."""

UNREAD_MAX = 16_384
"""Tokens of one stream that wait to be read, alternatives included. A stream that falls further behind ends,
which bounds the memory of the process that reads."""

MESSAGES_QUEUED_MAX = 10_000
"""Messages queued per socket. A reader that falls this far behind loses its streams, which bounds the
replica's memory."""


MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""Largest message. ZeroMQ ends the connection of who announces more, before it has any of it in memory, and
also before a handshake. The largest that a replica sends is a memory's state, of at most some megabytes."""

RECONNECT_MS_MAX = 2000
"""Longest pause between two attempts to reach a reader, which may be gone; the first is 100 ms."""

LOOK_SECONDS = 1.0
"""Time between two checks for silent streams in a reader."""


class Reader(NamedTuple):
    """A reader of tokens: where it listens, and the public key of its socket in Z85."""

    address: str
    key: bytes

    def __repr__(self) -> str:
        # Who has the key may write to the reader.
        return f"Reader({self.address!r})"


class StreamTarget(NamedTuple):
    """Where a replica sends the deltas of one stream; ``run`` is the replica's own."""

    reader: Reader
    stream_id: bytes
    run: int = 0

    def __repr__(self) -> str:
        return f"StreamTarget({self.reader.address!r})"


class Silence(NamedTuple):
    """The stream was silent for this many checks in a row. ``accepted``: something came before."""

    looks: int
    accepted: bool


Item = Delta | Silence | Exception
"""An entry of a stream's queue. An exception is the last one."""


class _Stream:
    """An open stream: the number expected next, and whether anything came since the last check."""

    __slots__ = ("expected", "heard", "queue", "run", "silent_looks")

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Item] = asyncio.Queue()
        self.run: int | None = None
        self.expected = 0
        self.heard = False
        self.silent_looks = 0


class TokenReader:
    """The reader's end: one socket for all streams of this process.

    It listens on the first of ``ports`` that is free, on any if they are None; raises ``EngineUnavailable``
    if none is.
    """

    def __init__(self, interface: str, ports: range | None = None) -> None:
        context: Any = zmq.asyncio.Context.instance()
        public, secret = zmq.curve_keypair()
        self._socket: Any = context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, MESSAGES_QUEUED_MAX)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        self._socket.setsockopt(zmq.IPV6, 1)
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        try:
            port = self._bind(interface, ports)
        except OSError as error:
            self._socket.close(linger=0)
            raise EngineUnavailable(f"its tokens cannot be received: {error.strerror}") from error
        self.reader = Reader(f"{_endpoint(interface)}:{port}", public)
        self._streams: dict[bytes, _Stream] = {}
        # Made for the first request, they work for all: their log lines are not that one's.
        self._tasks = tuple(
            asyncio.create_task(work, context=Context()) for work in (self._receive(), self._listen())
        )

    @contextmanager
    def stream(self) -> Generator[tuple[StreamTarget, "asyncio.Queue[Item]"]]:
        """Open a stream; its queue yields deltas in order, silences, or the error that ended it."""
        stream_id = secrets.token_bytes(16)
        stream = self._streams[stream_id] = _Stream()
        try:
            yield StreamTarget(self.reader, stream_id), stream.queue
        finally:
            self._streams.pop(stream_id, None)

    def close(self) -> None:
        """Stop reading; open streams end with ``EngineUnavailable``, so that no reader waits for ever."""
        for task in self._tasks:
            task.cancel()
        self._socket.close(linger=0)
        for stream_id in list(self._streams):
            self._end(stream_id, "the reader of its tokens was closed")

    def _bind(self, interface: str, ports: range | None) -> int:
        if ports is None:
            return self._socket.bind_to_random_port(_endpoint(interface))

        def bind(port: int) -> int:
            try:
                self._socket.bind(f"{_endpoint(interface)}:{port}")
            except zmq.ZMQError as error:
                raise OSError(error.errno, error.strerror) from error
            return port

        return bind_first(ports, bind)

    async def _receive(self) -> None:
        while True:
            self._read(await self._socket.recv())

    def _read(self, message: bytes) -> None:
        """Take a message's rows, each for itself: whatever is wrong with one ends its own stream alone.

        A replica of another version, or one that fails, may have sent it.
        """
        try:
            rows = tuple(_msgpack.unpackb(message, use_list=False))
        except Exception as error:
            # The streams whose rows it had miss a number, and end with that.
            logger.warning("A message that is no tokens was dropped: %r", error)
            return
        for row in rows:
            stream_id: Any = None
            try:
                stream_id, *rest = row
                if stream_id in self._streams:
                    self._accept(stream_id, *rest)
            except Exception as error:
                logger.warning("A row that is no tokens was dropped: %r", error)
                if isinstance(stream_id, bytes) and stream_id in self._streams:
                    self._end(stream_id, "its tokens could not be read")

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for stream in self._streams.values():
                stream.silent_looks = 0 if stream.heard else stream.silent_looks + 1
                stream.heard = False
                if stream.silent_looks:
                    stream.queue.put_nowait(Silence(stream.silent_looks, stream.run is not None))

    def _accept(self, stream_id: bytes, run: int, sequence: int, *fields: Any) -> None:
        if type(run) is not int or type(sequence) is not int:
            raise TypeError("a row is not numbered")
        stream = self._streams[stream_id]
        if stream.run is None:
            stream.run = run
        elif run != stream.run:
            return
        stream.heard = True
        if sequence != stream.expected:
            self._end(stream_id, "tokens were lost on the way from the replica")
        elif fields:
            delta = _delta(fields)
            if stream.queue.qsize() * _weight(delta) > UNREAD_MAX:
                logger.warning("A stream ends, as its reader is %d messages behind", stream.queue.qsize())
                self._end(stream_id, "its tokens were not read")
                return
            stream.queue.put_nowait(delta)
            stream.expected += 1

    def _end(self, stream_id: bytes, reason: str) -> None:
        self._streams.pop(stream_id).queue.put_nowait(EngineUnavailable(reason))


class TokenSender:
    """The replica's end. Used on one event loop; what is added in one turn of it is sent together."""

    def __init__(self) -> None:
        # ZeroMQ's stubs leave the type of its sockets open.
        self._context: Any = zmq.Context.instance()
        self._keys = zmq.curve_keypair()
        self._sockets: OrderedDict[Reader, Any] = OrderedDict()
        self._pending: dict[Reader, list[Any]] = {}

    def add(self, target: StreamTarget, sequence: int, delta: Delta) -> None:
        self._append(target.reader, (target.stream_id, target.run, sequence, *_fields(delta)))

    def add_sign(self, target: StreamTarget, sequence: int) -> None:
        """Say that the stream is being worked on and that ``sequence`` is its next number."""
        self._append(target.reader, (target.stream_id, target.run, sequence))

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close(linger=0)
        self._sockets.clear()

    def _append(self, reader: Reader, row: tuple[Any, ...]) -> None:
        if not self._pending:
            # For the tokens of many requests, so none of these is the one that its log lines are of.
            asyncio.get_running_loop().call_soon(self._flush, context=Context())
        self._pending.setdefault(reader, []).append(row)

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        for reader, rows in pending.items():
            try:
                self._socket(reader).send(_msgpack.packb(rows), zmq.NOBLOCK)
            except zmq.Again:
                logger.warning("The reader at %s does not keep up; its streams will end", reader.address)
            except zmq.ZMQError as error:
                self._sockets.pop(reader).close(linger=0)
                # The other readers' tokens of this step must still be sent.
                logger.warning("The reader at %s cannot be reached: %s", reader.address, error)

    def _socket(self, reader: Reader) -> Any:
        socket = self._sockets.get(reader)
        if socket is None:
            # Where the ports are chosen, another reader gets the port of one that is gone, and would
            # refuse that one's socket ten times a second.
            for gone in [other for other in self._sockets if other.address == reader.address]:
                self._sockets.pop(gone).close(linger=0)
            socket = self._sockets[reader] = self._context.socket(zmq.PUSH)
            socket.setsockopt(zmq.SNDHWM, MESSAGES_QUEUED_MAX)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.IPV6, 1)
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
            socket.setsockopt(zmq.CURVE_SERVERKEY, reader.key)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self._keys[0])
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys[1])
            socket.connect(reader.address)
            if len(self._sockets) > READERS_MAX:
                self._sockets.popitem(last=False)[1].close(linger=0)
        self._sockets.move_to_end(reader)
        return socket


def _endpoint(interface: str) -> str:
    """Return the address without its port; that of IPv6 is in brackets."""
    return f"tcp://[{interface}]" if ":" in interface else f"tcp://{interface}"


def _fields(delta: Delta) -> tuple[Any, ...]:
    return (
        delta.text,
        delta.token_ids,
        delta.prompt_tokens,
        delta.finish_reason,
        delta.logprobs or None,
        delta.memory,
        delta.prompt,
    )


def _delta(fields: Sequence[Any]) -> Delta:
    """Make the delta of a row. Raises ``TypeError`` or ``ValueError`` for fields that are none of one."""
    text, token_ids, prompt_tokens, finish_reason, logprobs, memory, prompt = fields
    is_whole = (
        type(text) is str
        and _are_tokens(token_ids)
        and type(prompt_tokens) is int
        and (finish_reason is None or finish_reason in FINISH_REASONS)
        and (memory is None or type(memory) is bytes)
    )
    if not is_whole:
        raise TypeError("a field of a delta is of another type")
    return Delta(
        text=text,
        token_ids=token_ids,
        prompt_tokens=prompt_tokens,
        finish_reason=finish_reason,
        logprobs=_rows(logprobs),
        memory=memory,
        prompt=None if prompt is None else _prompt(*prompt),
    )


def _weight(delta: Delta) -> int:
    """Return roughly how much memory a delta takes, in tokens without log probabilities."""
    return 1 + sum(1 + len(row.top) for row in delta.logprobs)


def _prompt(ids: Any, text: Any, first: Any, logprobs: Any) -> PromptRead:
    if not (_are_tokens(ids) and type(text) is str and (first is None or type(first) is str)):
        raise TypeError("a field of a prompt is of another type")
    return PromptRead(ids, text, first, _rows(logprobs))


def _rows(logprobs: Any) -> tuple[TokenLogprob, ...]:
    rows = tuple(TokenLogprob(*row) for row in logprobs or ())
    for row in rows:
        for token, text, logprob in ((row.token_id, row.text, row.logprob), *row.top):
            if not (type(token) is int and type(text) is str and type(logprob) is float):
                raise TypeError("a log probability is of another type")
    return rows


def _are_tokens(ids: Any) -> bool:
    return type(ids) is tuple and all(type(token) is int for token in cast("tuple[object, ...]", ids))
