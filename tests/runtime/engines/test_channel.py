"""Tokens cross in order, sealed, many streams to a message, and a lost one ends its stream by name."""

import asyncio
import contextlib
import logging
import pickle
import socket as sockets
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from typing import Any

import msgpack
import pytest
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from populace.actors.engine import Delta, TokenLogprob
from populace.actors.errors import EngineUnavailable
from populace.engines import channel
from populace.engines.channel import Reader, StreamTarget, TokenReader, TokenSender
from populace.telemetry.calls import Caller, current_request_id, serving
from tests.limits import HANG_SECONDS
from tests.runtime.engines.receiving import take

_msgpack: Any = msgpack  # it ships no types

LOOPBACK = "127.0.0.1"
receive_event: Any = recv_monitor_message  # its type depends on the socket's
NOWHERE = Reader("nowhere", zmq.curve_keypair()[0])


def has_ipv6() -> bool:
    try:
        sockets.create_server(("::1", 0), family=sockets.AF_INET6).close()
    except OSError:
        return False
    return True


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


def push_socket(*, key: bytes | None) -> Any:
    """Make a bare socket for a reader with this key; without one it speaks plain ZeroMQ."""
    context: Any = zmq.asyncio.Context.instance()
    socket = context.socket(zmq.PUSH)
    socket.linger = 0
    if key is not None:
        socket.curve_serverkey = key
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    return socket


def tokens(target: StreamTarget, sequence: int, text: str) -> bytes:
    """Write the message that the reader takes for a delta of the stream."""
    return _msgpack.packb([[target.stream_id, 0, sequence, text, [], 3, None, None, None, None]])


@pytest.fixture
async def wire() -> AsyncGenerator[tuple[StreamTarget, Any], None]:
    """A bare socket in a reader's place, to see the messages themselves."""
    context: Any = zmq.asyncio.Context.instance()
    socket = context.socket(zmq.PULL)
    key, socket.curve_secretkey = zmq.curve_keypair()
    socket.curve_server = True
    port = socket.bind_to_random_port(f"tcp://{LOOPBACK}")
    yield StreamTarget(Reader(f"tcp://{LOOPBACK}:{port}", key), b"stream"), socket
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


@pytest.mark.parametrize(("alternatives", "kept"), [(0, 9), (2, 3)])
async def test_a_stream_whose_reader_falls_behind_ends_and_the_others_go_on(
    reader: TokenReader, sender: TokenSender, monkeypatch: pytest.MonkeyPatch, alternatives: int, kept: int
) -> None:
    monkeypatch.setattr(channel, "UNREAD_MAX", 8)
    row = TokenLogprob(7, "x", -0.25, ((7, "x", -0.25),) * alternatives)
    logprobs = (row,) if alternatives else ()
    sent = [replace(delta(number), logprobs=logprobs) for number in range(40)]
    with reader.stream() as (target, queue), reader.stream() as (other, other_queue):
        for sequence, one in enumerate(sent):
            sender.add(target, sequence, one)
            sender.add(other, sequence, one)
            assert await take(other_queue, 1) == [one]

        *received, ended = await take(queue, kept + 1)

    assert received == sent[:kept]
    assert isinstance(ended, EngineUnavailable)
    assert "not read" in str(ended)


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
    with push_socket(key=reader.reader.key) as other, reader.stream() as (target, queue):
        other.connect(reader.reader.address)
        sender.add(target, 0, delta(0))
        await take(queue, 1)
        await other.send(noise)
        await other.send(tokens(target, 1, "after"))

        received = await take(queue, 1)

    assert received == [Delta("after", (), 3)]


@pytest.mark.parametrize(
    "row",
    [
        [],
        [0],
        [0, 0, "few"],
        [0, 0, "Ada", 7, 3, None, None, None, None],
        [0, 0, "Ada", [], 3, None, [[7]], None, None],
        [0, 0, "Ada", [], 3, None, None, None, "no prompt"],
        ["run", 0, "Ada", [], 3, None, None, None, None],
        [0, 0.0, "Ada", [], 3, None, None, None, None],
        [0, 0, b"Ada", [], 3, None, None, None, None],
        [0, 0, "Ada", ["7"], 3, None, None, None, None],
        [0, 0, "Ada", [], None, None, None, None, None],
        [0, 0, "Ada", [], 3, "abort", None, None, None],
        [0, 0, "Ada", [], 3, None, [[7, "a", "b"]], None, None],
        [0, 0, "Ada", [], 3, None, [[7, "a", -0.5, [[7, None, -0.5]]]], None, None],
        [0, 0, "Ada", [], 3, None, None, "state", None],
        [0, 0, "Ada", [], 3, None, None, None, [["7"], "hi", None, None]],
        [0, 0, "Ada", [], 3, None, None, None, None, "too much"],
    ],
)
async def test_a_row_that_is_no_tokens_ends_its_own_stream_and_no_other(
    reader: TokenReader, row: list[Any]
) -> None:
    with (
        push_socket(key=reader.reader.key) as other,
        reader.stream() as (broken, broken_queue),
        reader.stream() as (target, queue),
    ):
        other.connect(reader.reader.address)
        [after] = _msgpack.unpackb(tokens(target, 0, "after"))
        await other.send(_msgpack.packb([[broken.stream_id, *row], after]))

        received, [ended] = await take(queue, 1), await take(broken_queue, 1)

    assert received == [Delta("after", (), 3)]
    assert isinstance(ended, EngineUnavailable)
    assert "could not be read" in str(ended)


@pytest.mark.parametrize("key", [None, zmq.curve_keypair()[0]], ids=["plain", "another key"])
async def test_a_stranger_who_knows_the_stream_ends_and_writes_nothing(
    reader: TokenReader, sender: TokenSender, key: bytes | None
) -> None:
    with push_socket(key=key) as stranger, reader.stream() as (target, queue):
        sender.add(target, 0, delta(0))
        await take(queue, 1)
        with stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
            stranger.connect(reader.reader.address)
            async with asyncio.timeout(HANG_SECONDS):
                await stranger.send(tokens(target, 7, "a gap would end the stream"))
                event = await receive_event(monitor)
            stranger.disable_monitor()
        sender.add(target, 1, delta(1))

        received = await take(queue, 1)

    assert event["event"] == zmq.EVENT_DISCONNECTED
    assert received == [delta(1)]


async def test_who_announces_a_message_without_an_end_is_sent_away_before_it_is_in_memory(
    reader: TokenReader,
) -> None:
    """No handshake is needed to announce one; the greeting and the frame are those of ZMTP 3.1."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    host, _, port = reader.reader.address.removeprefix("tcp://").rpartition(":")
    incoming, outgoing = await asyncio.open_connection(host, int(port))
    try:
        outgoing.write(greeting + b"\x06" + (channel.MESSAGE_BYTES_MAX + 1).to_bytes(8, "big"))
        async with asyncio.timeout(HANG_SECONDS):
            with contextlib.suppress(ConnectionError):
                await incoming.read()  # to the end, which the reader makes
    finally:
        outgoing.close()
        with contextlib.suppress(ConnectionError):
            await outgoing.wait_closed()


async def test_what_crosses_the_network_cannot_be_read(reader: TokenReader, sender: TokenSender) -> None:
    seen, hung_up = bytearray(), asyncio.Event()

    async def relay(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                seen.extend(data)
                drain.write(data)
        drain.close()
        await drain.wait_closed()

    async def listen(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
        host, port = reader.reader.address.removeprefix("tcp://").split(":")
        onward, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(relay(source, back), relay(onward, drain))
        hung_up.set()

    wire = await asyncio.start_server(listen, LOOPBACK, 0)
    port = wire.sockets[0].getsockname()[1]
    with reader.stream() as (target, queue):
        tapped = target._replace(reader=target.reader._replace(address=f"tcp://{LOOPBACK}:{port}"))
        sender.add(tapped, 0, Delta("a confession", (1,), 3))

        received = await take(queue, 1)

    sender.close()
    async with asyncio.timeout(HANG_SECONDS):
        await hung_up.wait()
    wire.close()
    assert received == [Delta("a confession", (1,), 3)]
    assert b"CURVE" in seen
    assert b"confession" not in seen
    assert target.stream_id not in seen


def test_a_target_shows_neither_its_key_nor_its_stream_and_survives_pickling() -> None:
    target = StreamTarget(Reader("tcp://10.0.0.1:7100", b"the key"), b"the stream")

    assert repr([target, target.reader]) == (
        "[StreamTarget('tcp://10.0.0.1:7100'), Reader('tcp://10.0.0.1:7100')]"
    )
    assert pickle.loads(pickle.dumps(target)) == target


async def test_readers_take_the_ports_that_were_chosen_and_say_when_there_are_too_few() -> None:
    with sockets.create_server((LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(EngineUnavailable, match=f"POPULACE_STREAM_PORTS={taken}-{taken} are taken"):
            TokenReader(LOOPBACK, range(taken, taken + 1))

    first = TokenReader(LOOPBACK, range(taken, taken + 1))
    assert first.reader.address == f"tcp://{LOOPBACK}:{taken}"
    first.close()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no address of IPv6")
@pytest.mark.parametrize("is_chosen", [True, False])
async def test_tokens_cross_at_an_address_of_ipv6(sender: TokenSender, is_chosen: bool) -> None:
    with sockets.create_server(("::1", 0), family=sockets.AF_INET6) as other:
        port = other.getsockname()[1]
    reader = TokenReader("::1", range(port, port + 1) if is_chosen else None)
    with reader.stream() as (target, queue):
        assert target.reader.address.startswith("tcp://[::1]:")
        sender.add(target, 0, delta(0))
        assert await take(queue, 1) == [delta(0)]
    reader.close()


async def test_a_port_that_is_another_readers_now_leaves_the_former_one_no_socket(
    reader: TokenReader, sender: TokenSender
) -> None:
    former = reader.reader._replace(key=NOWHERE.key)
    with reader.stream() as (target, queue):
        sender.add(target._replace(reader=former), 0, delta(0))
        await asyncio.sleep(0)
        sender.add(target, 0, delta(1))

        received = await take(queue, 1)

    assert received == [delta(1)]
    assert list(sender._sockets) == [reader.reader]


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
    with push_socket(key=reader.reader.key) as other:
        other.connect(reader.reader.address)
        await other.send(b"noise")
        async with asyncio.timeout(HANG_SECONDS):
            await served.told.wait()

    reader.close()
    assert served.requests == [None]


async def test_what_a_sender_logs_is_not_of_the_request_that_it_sends_for_first(
    sender: TokenSender, served: Served
) -> None:
    with serving(Caller("first")):
        sender.add(StreamTarget(NOWHERE, b"x"), 0, delta(0))
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
        sender.add(StreamTarget(NOWHERE, b"x"), 0, delta(0))
        sender.add(target, 0, delta(1))

        received = await take(queue, 1)

    assert received == [delta(1)]


async def test_a_sender_keeps_a_bounded_number_of_sockets(
    reader: TokenReader, sender: TokenSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "READERS_MAX", 2)
    for port in range(1, 6):
        sender.add(StreamTarget(Reader(f"tcp://{LOOPBACK}:{port}", NOWHERE.key), b"x"), 0, delta(0))
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
