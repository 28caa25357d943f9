"""A sealed stream opens as what was sealed, whole and in order, or it does not open."""

from collections.abc import Callable

import pytest

from populace.storage.streams.sealed_stream import CHUNK_BYTES, Chunk, SealBroken, seal, unseal

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
TEXT = bytes(range(256)) * (3 * CHUNK_BYTES // 256)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
@pytest.mark.parametrize("piece", [777, CHUNK_BYTES, 2**30])
def test_what_was_sealed_in_any_pieces_opens_in_chunks_of_one_size(size: int, piece: int) -> None:
    text = TEXT[:size]

    chunks = list(seal(KEY, (text[start : start + piece] for start in range(0, size, piece))))

    assert b"".join(unseal(KEY, chunks)) == text
    assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert {len(chunk.data) for chunk in chunks[:-1]} <= {CHUNK_BYTES + 16}
    assert len(chunks) == max(1, -(-size // CHUNK_BYTES))


CHANGES: dict[str, Callable[[list[Chunk]], list[Chunk]]] = {
    "the last chunk is left out": lambda chunks: chunks[:-1],
    "all are left out": lambda chunks: [],
    "the first is left out": lambda chunks: chunks[1:],
    "two change places": lambda chunks: [chunks[1], chunks[0], chunks[2]],
    "one comes twice": lambda chunks: [chunks[0], *chunks],
    "it goes on": lambda chunks: [*chunks, chunks[-1]],
    "it is cut and said to end there": lambda chunks: [chunks[0], chunks[1]._replace(is_last=True)],
    "the last is said to be none": lambda chunks: [*chunks[:2], chunks[2]._replace(is_last=False), chunks[2]],
    "a bit changes": lambda chunks: [chunks[0]._replace(data=b"\1" + chunks[0].data[1:]), *chunks[1:]],
    "a chunk is empty": lambda chunks: [Chunk(b"", False), *chunks],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_stream_of_which_anything_was_changed_does_not_open(change: str) -> None:
    chunks = list(seal(KEY, [TEXT]))
    assert len(chunks) == 3

    with pytest.raises(SealBroken):
        list(unseal(KEY, CHANGES[change](chunks)))


def test_another_key_opens_nothing() -> None:
    with pytest.raises(SealBroken):
        list(unseal(OTHER, seal(KEY, [TEXT])))
