"""The vectors of what was said in one model's log, by which questions in other words are recognised."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

ENTRY_BYTES = 250
"""The bytes of a vector besides its numbers: its key, the array's object and its place."""

VECTORS_MAX = 4096
"""With more vectors all are made anew: a log has fewer that are compared again and again."""


class SentenceEncoder(Protocol):
    """Maps sentences to unit vectors; those of sentences that mean the same are nearly parallel."""

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return a vector for each text, shape (texts, width). Takes some milliseconds a sentence."""
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

    def likeness(
        self, encoder: SentenceEncoder, question: str, texts: Sequence[str]
    ) -> tuple[Self, list[float]]:
        """Return how alike the question is to each text, -1 to 1, and the vectors with those that it took."""
        keys = [_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        asked, *made = encoder.vectors([question, *missing.values()])
        known = {} if len(self._vectors) + len(missing) > VECTORS_MAX else self._vectors
        new = {key: vector.astype(np.float16) for key, vector in zip(missing, made, strict=True)}
        every = {**self._vectors, **new}
        likeness = [float(every[key].astype(np.float32) @ asked) for key in keys]
        return type(self)({**known, **new}), likeness


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
