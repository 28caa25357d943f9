"""The vectors of what was said in one model's log, by which questions in other words are recognised."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

ENTRY_BYTES = 250
"""The bytes of a vector besides its numbers: its key, the array's object and its place."""

VECTORS_MAX = 4096
"""With more vectors those that are not needed now are dropped, and made anew when they are."""


class SentenceEncoder(Protocol):
    """Maps sentences to unit vectors; those of sentences that mean the same are nearly parallel."""

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return a vector for each text, shape (texts, width). Takes some milliseconds a sentence.

        What it cannot read has zeros, which are like nothing.
        """
        ...


class SentenceVectors:
    """An immutable set of vectors by the digests of their texts; each is made when it is first compared."""

    def __init__(self, vectors: Mapping[bytes, npt.NDArray[np.float16]] | None = None) -> None:
        self._vectors = vectors or {}

    @property
    def bytes(self) -> int:
        """An estimate of the memory that they take."""
        one = next(iter(self._vectors.values()), None)
        return 0 if one is None else len(self._vectors) * (ENTRY_BYTES + one.nbytes)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return those of the texts that have no vector yet, each once."""
        return [text for text in dict.fromkeys(texts) if _key(text) not in self._vectors]

    def extended(self, encoder: SentenceEncoder, texts: Sequence[str]) -> Self:
        """Return them with those of further texts."""
        kept = {} if len(self._vectors) + len(texts) > VECTORS_MAX else self._vectors
        made = encoder.vectors(texts).astype(np.float16)
        return type(self)({**kept, **dict(zip(map(_key, texts), made, strict=True))})

    def likeness(self, encoder: SentenceEncoder, question: str, texts: Sequence[str]) -> list[float]:
        """Return how alike the question is to each text, -1 to 1; 0 for one that has no vector."""
        [asked] = encoder.vectors([question])
        found = [self._vectors.get(_key(text)) for text in texts]
        return [0.0 if one is None else float(one.astype(np.float32) @ asked) for one in found]


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
