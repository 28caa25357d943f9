"""Large objects of a bucket: a line of the format, a salt, and a sealed stream in frames.

See ``storage/streams/sealed_stream.py``.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Any

import msgpack

from populace.storage.journal.bucket import Bucket
from populace.storage.journal.errors import JournalDamaged
from populace.storage.journal.sealing import SALT_BYTES, JournalSeal
from populace.storage.streams.frames import FRAME_BYTES_MAX, pack
from populace.storage.streams.sealed_stream import Chunk, SealBroken, seal, unseal

FORMAT = b"populace-journal-1\n"

_msgpack: Any = msgpack  # it ships no types


def write_object(bucket: Bucket, sealing: JournalSeal, name: str, pieces: Iterable[bytes]) -> None:
    """Write the pieces, which may have any sizes, as one object, in the place of one of this name."""
    salt, key = sealing.new_stream(name)

    def sealed() -> Iterator[bytes]:
        yield FORMAT + salt
        for chunk in seal(key, pieces):
            yield pack("last" if chunk.is_last else "chunk", chunk.data)

    bucket.replace(name, sealed())


def read_object(bucket: Bucket, sealing: JournalSeal, name: str) -> Iterator[bytes] | None:
    """Read an object of ``write_object`` in pieces. Raises ``JournalDamaged``, also while it is read."""
    pieces = bucket.stream(name)
    return None if pieces is None else _opened(sealing, name, pieces)


def _opened(sealing: JournalSeal, name: str, pieces: Generator[bytes]) -> Iterator[bytes]:
    # Also if it is damaged: an error keeps what raised it, and with that the open object.
    with closing(pieces):
        head_bytes = len(FORMAT) + SALT_BYTES
        start = b""
        for piece in pieces:
            start += piece
            if len(start) >= head_bytes:
                break
        if len(start) < head_bytes or not start.startswith(FORMAT):
            raise JournalDamaged(name, "it was cut, or a newer release wrote it")
        key = sealing.stream_key(name, start[len(FORMAT) : head_bytes])
        try:
            yield from unseal(key, _chunks(start[head_bytes:], pieces))
        except (SealBroken, ValueError, msgpack.UnpackException) as error:
            raise JournalDamaged(name, f"it was cut or changed: {error}") from error


def _chunks(start: bytes, pieces: Iterator[bytes]) -> Iterator[Chunk]:
    unpacker = _msgpack.Unpacker(use_list=False, max_buffer_size=2 * FRAME_BYTES_MAX)
    for piece in chain((start,), pieces):
        unpacker.feed(piece)
        for frame in unpacker:
            match frame:
                case ("chunk" | "last" as kind, bytes(data)):
                    yield Chunk(data, is_last=kind == "last")
                case _:
                    raise ValueError("there is something other than chunks in it")
