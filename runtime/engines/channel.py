"""A side channel for tokens: from a replica straight to the process that reads the stream.

Ray carries the request, its errors and its cancellation. The tokens take this way because a
streamed Ray result costs a process hop per token and request, while here all tokens that one
engine step made for one reader leave in a single message (measured: ``docs/measurements``).

A message is the msgpack array of ``[stream id, run, sequence number, delta fields]``. Stream ids
are 128 random bits that only the reader and the replica know; unknown ones are dropped. A gap in
the sequence numbers means a lost message: the reader ends the stream with an error.

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
from typing import Any, NamedTuple

import msgpack
import zmq
import zmq.asyncio

from populace.actors.engine import Delta, PromptRead, TokenLogprob
from populace.actors.errors import EngineUnavailable

logger = logging.getLogger(__name__)

_msgpack: Any = msgpack  # it has no type annotations

READERS_MAX = 64
"""Reader sockets that a replica keeps open; the one used longest ago is closed first."""

MESSAGES_QUEUED_MAX = 10_000
"""Messages queued per socket. A reader that falls this far behind loses its streams, which bounds the
replica's memory."""


LOOK_SECONDS = 1.0
"""Time between two checks for silent streams in a reader."""


class StreamTarget(NamedTuple):
    """Where a replica sends the deltas of one stream; ``run`` is the replica's own."""

    address: str
    stream_id: bytes
    run: int = 0


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
    """The reader's end: one socket for all streams of this process."""

    def __init__(self, interface: str) -> None:
        context: Any = zmq.asyncio.Context.instance()
        self._socket: Any = context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, MESSAGES_QUEUED_MAX)
        port = self._socket.bind_to_random_port(f"tcp://{interface}")
        self.address = f"tcp://{interface}:{port}"
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
            yield StreamTarget(self.address, stream_id), stream.queue
        finally:
            self._streams.pop(stream_id, None)

    def close(self) -> None:
        """Stop reading; open streams end with ``EngineUnavailable``, so that no reader waits for ever."""
        for task in self._tasks:
            task.cancel()
        self._socket.close(linger=0)
        for stream_id in list(self._streams):
            self._end(stream_id, "the reader of its tokens was closed")

    async def _receive(self) -> None:
        while True:
            message = await self._socket.recv()
            try:
                rows = _msgpack.unpackb(message, use_list=False)
                for stream_id, run, sequence, *fields in rows:
                    self._accept(stream_id, run, sequence, fields)
            except (ValueError, TypeError, msgpack.UnpackException) as error:
                # Any process that reaches the port can write to it; a bad message must not end all streams.
                logger.warning("A message that is no tokens was dropped: %r", error)

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for stream in self._streams.values():
                stream.silent_looks = 0 if stream.heard else stream.silent_looks + 1
                stream.heard = False
                if stream.silent_looks:
                    stream.queue.put_nowait(Silence(stream.silent_looks, stream.run is not None))

    def _accept(self, stream_id: bytes, run: int, sequence: int, fields: list[Any]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.run is None:
            stream.run = run
        elif run != stream.run:
            return
        stream.heard = True
        if sequence != stream.expected:
            self._end(stream_id, "tokens were lost on the way from the replica")
        elif fields:
            stream.queue.put_nowait(_delta(fields))
            stream.expected += 1

    def _end(self, stream_id: bytes, reason: str) -> None:
        self._streams.pop(stream_id).queue.put_nowait(EngineUnavailable(reason))


class TokenSender:
    """The replica's end. Used on one event loop; what is added in one turn of it is sent together."""

    def __init__(self) -> None:
        # ZeroMQ's stubs leave the type of its sockets open.
        self._context: Any = zmq.Context.instance()
        self._sockets: OrderedDict[str, Any] = OrderedDict()
        self._pending: dict[str, list[Any]] = {}

    def add(self, target: StreamTarget, sequence: int, delta: Delta) -> None:
        self._append(target.address, (target.stream_id, target.run, sequence, *_fields(delta)))

    def add_sign(self, target: StreamTarget, sequence: int) -> None:
        """Say that the stream is being worked on and that ``sequence`` is its next number."""
        self._append(target.address, (target.stream_id, target.run, sequence))

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close(linger=0)
        self._sockets.clear()

    def _append(self, address: str, row: tuple[Any, ...]) -> None:
        if not self._pending:
            # For the tokens of many requests, so none of these is the one that its log lines are of.
            asyncio.get_running_loop().call_soon(self._flush, context=Context())
        self._pending.setdefault(address, []).append(row)

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        for address, rows in pending.items():
            try:
                self._socket(address).send(_msgpack.packb(rows), zmq.NOBLOCK)
            except zmq.Again:
                logger.warning("The reader at %s does not keep up; its streams will end", address)
            except zmq.ZMQError as error:
                self._sockets.pop(address).close(linger=0)
                # The other readers' tokens of this step must still be sent.
                logger.warning("The reader at %s cannot be reached: %s", address, error)

    def _socket(self, address: str) -> Any:
        socket = self._sockets.get(address)
        if socket is None:
            socket = self._sockets[address] = self._context.socket(zmq.PUSH)
            socket.setsockopt(zmq.SNDHWM, MESSAGES_QUEUED_MAX)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(address)
            if len(self._sockets) > READERS_MAX:
                self._sockets.popitem(last=False)[1].close(linger=0)
        self._sockets.move_to_end(address)
        return socket


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


def _delta(fields: list[Any]) -> Delta:
    text, token_ids, prompt_tokens, finish_reason, logprobs, memory, prompt = fields
    return Delta(
        text=text,
        token_ids=tuple(token_ids),
        prompt_tokens=prompt_tokens,
        finish_reason=finish_reason,
        logprobs=_rows(logprobs),
        memory=memory,
        prompt=None if prompt is None else _prompt(*prompt),
    )


def _prompt(ids: tuple[int, ...], text: str, first: str | None, logprobs: Sequence[Any]) -> PromptRead:
    return PromptRead(tuple(ids), text, first, _rows(logprobs))


def _rows(logprobs: Sequence[Any] | None) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(*row) for row in logprobs or ())
