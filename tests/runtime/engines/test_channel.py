"""Tokens cross in order, many streams to a message, and a lost one ends its stream by name."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator
from typing import Any

import msgpack
import pytest
import zmq
import zmq.asyncio

from populace.actors.engine import Delta, TokenLogprob
from populace.actors.errors import EngineUnavailable
from populace.engines import channel
from populace.engines.channel import StreamTarget, TokenReader, TokenSender
from populace.telemetry.calls import Caller, current_request_id, serving
from tests.limits import HANG_SECONDS
from tests.runtime.engines.receiving import take

_msgpack: Any = msgpack  # it ships no types

LOOPBACK = "127.0.0.1"


def delta(number: int) -> Delta:
    return Delta(text=f"token {number}", token_ids=(number,), prompt_tokens=3)


@pytest.fixture
async def reader() -> AsyncGenerator[TokenReader, None]:
    reader = TokenReader(LOOPBACK)
    yield reader
    reader.close()


@pytest.fixture
def sender() -> Generator[TokenSender, None, None]:
    sender = TokenSender()
    yield sender
    sender.close()


@pytest.fixture
async def wire() -> AsyncGenerator[tuple[StreamTarget, Any], None]:
    """A bare socket in a reader's place, to see the messages themselves."""
    context: Any = zmq.asyncio.Context.instance()
    socket = context.socket(zmq.PULL)
    port = socket.bind_to_random_port(f"tcp://{LOOPBACK}")
    yield StreamTarget(f"tcp://{LOOPBACK}:{port}", b"stream"), socket
    socket.close(linger=0)


async def test_deltas_arrive_whole_and_in_order(reader: TokenReader, sender: TokenSender) -> None:
    row = TokenLogprob(7, "é", -0.25, ((7, "é", -0.25), (8, "\U0001f388", -2.0)))
    sent = [
        Delta("", (1, 2), 3),
        Delta("é🎈\0", (7,), 3, (row,)),
        Delta("end", (), 3, (), "length"),
        *[delta(number) for number in range(3, 500)],
    ]
    with reader.stream() as (target, queue):
        for sequence, one in enumerate(sent):
            sender.add(target, sequence, one)
            if sequence % 50 == 0:
                await asyncio.sleep(0)

        received = await take(queue, len(sent))

    assert received == sent


async def test_streams_do_not_mix(reader: TokenReader, sender: TokenSender) -> None:
    with reader.stream() as (first, first_queue), reader.stream() as (second, second_queue):
        for number in range(100):
            sender.add(first, number, delta(number))
            sender.add(second, number, delta(-number))

        received = await take(first_queue, 100), await take(second_queue, 100)

    assert received == ([delta(n) for n in range(100)], [delta(-n) for n in range(100)])


async def test_two_readers_get_their_own(sender: TokenSender) -> None:
    readers = [TokenReader(LOOPBACK), TokenReader(LOOPBACK)]
    with readers[0].stream() as (first, first_queue), readers[1].stream() as (second, second_queue):
        sender.add(first, 0, delta(1))
        sender.add(second, 0, delta(2))

        received = [*await take(first_queue, 1), *await take(second_queue, 1)]

    for one in readers:
        one.close()
    assert received == [delta(1), delta(2)]


async def test_what_is_added_in_one_turn_of_the_loop_leaves_in_one_message(
    wire: tuple[StreamTarget, Any], sender: TokenSender
) -> None:
    target, socket = wire
    for number in range(64):
        sender.add(target._replace(stream_id=bytes([number])), 0, delta(number))
    await asyncio.sleep(0)
    sender.add(target, 1, delta(64))

    async with asyncio.timeout(HANG_SECONDS):
        messages = [_msgpack.unpackb(await socket.recv()) for _ in range(2)]

    assert [len(message) for message in messages] == [64, 1]
    assert [row[0] for row in messages[0]] == [bytes([number]) for number in range(64)]


async def test_an_unknown_stream_is_dropped(reader: TokenReader, sender: TokenSender) -> None:
    with reader.stream() as (target, queue):
        sender.add(target._replace(stream_id=b"nobody"), 0, delta(1))
        sender.add(target, 0, delta(2))

        received = await take(queue, 1)

    assert received == [delta(2)]


async def test_a_closed_stream_takes_no_more(reader: TokenReader, sender: TokenSender) -> None:
    with reader.stream() as (closed, closed_queue):
        pass
    with reader.stream() as (target, queue):
        sender.add(closed, 0, delta(1))
        sender.add(target, 0, delta(2))
        await take(queue, 1)

    assert closed_queue.empty()


@pytest.mark.parametrize("sequence", [0, 2], ids=["repeated", "missing"])
async def test_a_gap_ends_the_stream_and_no_other(
    reader: TokenReader, sender: TokenSender, sequence: int
) -> None:
    with reader.stream() as (target, queue), reader.stream() as (other, other_queue):
        sender.add(target, 0, delta(0))
        sender.add(target, sequence, delta(1))
        sender.add(target, 1, delta(2))
        sender.add(other, 0, delta(3))
        received = await take(queue, 2)
        others = await take(other_queue, 1)

    assert received[0] == delta(0)
    assert isinstance(received[1], EngineUnavailable)
    assert queue.empty()
    assert others == [delta(3)]


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"\xc1",
        b"\x91",
        _msgpack.packb(5),
        _msgpack.packb([5]),
        _msgpack.packb([[b"x"]]),
        _msgpack.packb([[[], 0]]),
    ],
)
async def test_a_message_that_is_no_tokens_is_dropped(
    reader: TokenReader, sender: TokenSender, noise: bytes
) -> None:
    context: Any = zmq.asyncio.Context.instance()
    stranger = context.socket(zmq.PUSH)
    stranger.connect(reader.address)
    with reader.stream() as (target, queue):
        sender.add(target, 0, delta(0))
        await take(queue, 1)
        await stranger.send(noise)
        after: list[Any] = [target.stream_id, 0, 1, "after", [], 3, None, None, None, None]
        await stranger.send(_msgpack.packb([after]))

        received = await take(queue, 1)

    stranger.close(linger=0)
    assert received == [Delta("after", (), 3)]


class Served(logging.Handler):
    """Keeps for whose request each line of the channel's log was written."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str | None] = []
        self.told = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.requests.append(current_request_id())
        self.told.set()


@pytest.fixture
def served() -> Generator[Served]:
    served = Served()
    channel.logger.addHandler(served)
    yield served
    channel.logger.removeHandler(served)


async def test_what_a_reader_logs_is_not_of_the_request_for_which_it_was_made(served: Served) -> None:
    with serving(Caller("first")):
        reader = TokenReader(LOOPBACK)
    context: Any = zmq.asyncio.Context.instance()
    stranger = context.socket(zmq.PUSH)
    stranger.connect(reader.address)
    await stranger.send(b"noise")
    async with asyncio.timeout(HANG_SECONDS):
        await served.told.wait()

    stranger.close(linger=0)
    reader.close()
    assert served.requests == [None]


async def test_what_a_sender_logs_is_not_of_the_request_that_it_sends_for_first(
    sender: TokenSender, served: Served
) -> None:
    with serving(Caller("first")):
        sender.add(StreamTarget("nowhere", b"x"), 0, delta(0))
    async with asyncio.timeout(HANG_SECONDS):
        await served.told.wait()

    assert served.requests == [None]


async def test_closing_a_reader_ends_its_open_streams(sender: TokenSender) -> None:
    reader = TokenReader(LOOPBACK)
    with reader.stream() as (_, queue):
        reader.close()

        (received,) = await take(queue, 1)

    assert isinstance(received, EngineUnavailable)


async def test_a_reader_that_is_gone_does_not_block_the_sender(
    reader: TokenReader, sender: TokenSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "MESSAGES_QUEUED_MAX", 10)
    gone = TokenReader(LOOPBACK)
    with gone.stream() as (target, _):
        gone.close()
    for number in range(100):
        sender.add(target, number, delta(number))
        await asyncio.sleep(0)

    with reader.stream() as (living, queue):
        sender.add(target, 100, delta(100))
        sender.add(living, 0, delta(1))
        received = await take(queue, 1)

    assert received == [delta(1)]


async def test_an_address_that_is_none_costs_no_other_reader_its_tokens(
    reader: TokenReader, sender: TokenSender
) -> None:
    with reader.stream() as (target, queue):
        sender.add(StreamTarget("nowhere", b"x"), 0, delta(0))
        sender.add(target, 0, delta(1))

        received = await take(queue, 1)

    assert received == [delta(1)]


async def test_a_sender_keeps_a_bounded_number_of_sockets(
    reader: TokenReader, sender: TokenSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "READERS_MAX", 2)
    for port in range(1, 6):
        sender.add(StreamTarget(f"tcp://{LOOPBACK}:{port}", b"x"), 0, delta(0))
    with reader.stream() as (target, queue):
        sender.add(target, 0, delta(1))
        received = await take(queue, 1)

    assert received == [delta(1)]
    assert len(sender._sockets) == 2


async def test_closing_leaks_nothing(sender: TokenSender) -> None:
    reader = TokenReader(LOOPBACK)
    with reader.stream() as (target, queue):
        sender.add(target, 0, delta(0))
        await take(queue, 1)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}

    reader.close()
    sender.close()
    await asyncio.wait(tasks, timeout=HANG_SECONDS)

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert reader._socket.closed
    assert not sender._sockets
    assert not reader._streams
