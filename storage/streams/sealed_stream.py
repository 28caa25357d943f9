"""Seals a stream of bytes in chunks, so that it is written and read in bounded memory.

Chunk number n is AES-256-GCM under a nonce of n (11 bytes) and whether it is the last one (1 byte): the
STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (2015). It detects a chunk that was changed,
moved, left out or put in, and a missing end. A key must seal one stream only.

In a file, a chunk is a frame (``storage/streams/frames.py``) ``"chunk", bytes``, and the last one is
``"last", bytes``.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from populace.storage.streams.frames import Frame, FrameWriter

CHUNK_BYTES = 2**20


class Chunk(NamedTuple):
    data: bytes
    is_last: bool


class SealBroken(Exception):
    """The chunks are not what was sealed with this key."""


def seal(key: bytes, pieces: Iterable[bytes]) -> Iterator[Chunk]:
    """Seal the pieces, which may have any sizes, as chunks of ``CHUNK_BYTES``. ``key`` seals nothing else."""
    cipher = AESGCM(key)
    number, waiting = 0, bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK_BYTES:
            part = bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
            yield Chunk(cipher.encrypt(_nonce(number, is_last=False), part, None), is_last=False)
            number += 1
    yield Chunk(cipher.encrypt(_nonce(number, is_last=True), bytes(waiting), None), is_last=True)


def unseal(key: bytes, chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """Open the chunks of ``seal``, piece by piece. Raises ``SealBroken``, also at the end.

    Do not act irrevocably on a piece before the last one has come.
    """
    cipher = AESGCM(key)
    ended = False
    for number, chunk in enumerate(chunks):
        if ended:
            raise SealBroken("it goes on behind its end")
        try:
            yield cipher.decrypt(_nonce(number, is_last=chunk.is_last), chunk.data, None)
        except (InvalidTag, ValueError) as error:
            raise SealBroken(f"chunk {number} was changed, or sealed with another key") from error
        ended = chunk.is_last
    if not ended:
        raise SealBroken("its end is missing")


def write_sealed(writer: FrameWriter, key: bytes, pieces: Iterable[bytes]) -> None:
    """Write the pieces as frames of sealed chunks. ``key`` seals nothing else."""
    for chunk in seal(key, pieces):
        writer.write("last" if chunk.is_last else "chunk", chunk.data)


def read_sealed(frames: Iterator[Frame], key: bytes) -> Iterator[bytes]:
    """Open the stream of ``write_sealed``; ``frames`` then stands after it. Raises ``SealBroken``."""
    return unseal(key, read_chunks(frames))


def read_chunks(frames: Iterator[Frame]) -> Iterator[Chunk]:
    """Read frames up to the last chunk. Raises ``SealBroken`` for anything else."""
    for frame in frames:
        match frame:
            case ("chunk" | "last", bytes(data)):
                is_last = frame[0] == "last"
                yield Chunk(data, is_last)
                if is_last:
                    return
            case _:
                raise SealBroken("there is something else between the chunks")


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((is_last,))
