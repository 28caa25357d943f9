"""Messages of tokens, as a replica that fails, or is of another version, may send them."""

import asyncio
import random
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import msgpack

from populace.actors.engine import Delta, PromptRead, TokenLogprob
from populace.actors.errors import EngineUnavailable
from populace.engines.channel import Item, TokenReader, _fields
from tests.fuzzing.mutation import mutated, mutated_value

_msgpack: Any = msgpack

DELTAS = (
    Delta("Hello", (15, 16), 7),
    Delta(
        " world",
        (17,),
        7,
        logprobs=(TokenLogprob(17, " world", -0.5, ((17, " world", -0.5), (99, "x", -1.5))),),
        prompt=PromptRead((1, 2), "hi", "h", (TokenLogprob(2, "i", -0.1),)),
    ),
    Delta("", (18,), 7, finish_reason="stop", memory=b"state" * 10),
)


class Channel:
    """Reads messages for two open streams, and looks at each item that came out of one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._reader = self._loop.run_until_complete(_reader())

    def close(self) -> None:
        self._reader.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def made(self, source: random.Random) -> bytes:
        rows = [
            (stream, 5, sequence, *_fields(delta))
            for stream in (b"1" * 16, b"2" * 16)
            for sequence, delta in enumerate(DELTAS)
        ]
        rows.append((b"1" * 16, 5, len(DELTAS)))
        value: object = tuple(rows)
        if source.random() < 0.7:
            for _ in range(source.choice((1, 1, 2, 5))):
                value = mutated_value(value, source)
            try:
                return cast("bytes", _msgpack.packb(value, use_bin_type=True))
            except (ValueError, OverflowError, TypeError):
                value = tuple(rows)
        packed: bytes = _msgpack.packb(value, use_bin_type=True)
        return mutated(packed, [packed], source)

    def feed(self, data: bytes) -> str:
        ended = 0
        with ExitStack() as streams:
            opened = [streams.enter_context(self._reader.stream()) for _ in range(2)]
            for (target, _), name in zip(opened, (b"1" * 16, b"2" * 16), strict=True):
                data = data.replace(name, target.stream_id)
            self._reader._read(data)
            for _, queue in opened:
                while not queue.empty():
                    item = queue.get_nowait()
                    check_item(item)
                    ended += isinstance(item, EngineUnavailable)
        return f"{ended} streams ended"


def check_item(item: Item) -> None:
    """What comes out of a stream is a whole delta, or the error that ends it."""
    if isinstance(item, EngineUnavailable):
        return
    assert isinstance(item, Delta), item
    assert type(item.text) is str, item
    assert all(type(token) is int for token in item.token_ids), item
    assert type(item.prompt_tokens) is int, item
    assert item.finish_reason in (None, "stop", "length"), item
    assert item.memory is None or type(item.memory) is bytes, item
    for row in item.logprobs:
        check_row(row)
    if item.prompt is not None:
        assert all(type(token) is int for token in item.prompt.ids), item
        assert type(item.prompt.text) is str, item
        assert item.prompt.first is None or type(item.prompt.first) is str, item
        for row in item.prompt.logprobs or ():
            check_row(row)


def check_row(row: TokenLogprob) -> None:
    for token, text, logprob in ((row.token_id, row.text, row.logprob), *row.top):
        assert (type(token), type(text), type(logprob)) == (int, str, float), row


async def _reader() -> TokenReader:
    return TokenReader("127.0.0.1")


@contextmanager
def channel() -> Generator[Channel]:
    target = Channel()
    yield target
    target.close()
