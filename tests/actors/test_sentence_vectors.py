"""A model's sentences are encoded once each, and its vectors count as its bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from populace.actors.keepers import sentence_vectors
from populace.actors.keepers.sentence_vectors import SentenceVectors
from populace.encoder.bert import BertEncoder


class Counting:
    """The real encoder, and what it was asked."""

    def __init__(self, directory: Path) -> None:
        self._encoder = BertEncoder(directory)
        self.asked: list[str] = []

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.asked += texts
        return self._encoder.vectors(texts)


@pytest.fixture
def encoder(encoder_files: Path) -> Counting:
    return Counting(encoder_files)


def test_each_text_is_encoded_once(encoder: Counting) -> None:
    empty = SentenceVectors()
    vectors, first = empty.likeness(encoder, "Where do I live?", ["I live in Porto.", "I sing.", "I sing."])
    again, second = vectors.likeness(encoder, "Where do I live?", ["I sing.", "I live in Porto."])

    assert encoder.asked == ["Where do I live?", "I live in Porto.", "I sing.", "Where do I live?"]
    assert first[0] > first[1] == first[2]
    assert second == pytest.approx([first[1], first[0]], abs=2e-3)
    assert (empty.bytes, again.bytes) == (0, vectors.bytes)
    assert vectors.bytes > 2 * 384 * 2


def test_too_many_are_made_anew(encoder: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_vectors, "VECTORS_MAX", 2)
    vectors, _ = SentenceVectors().likeness(encoder, "Where?", ["In Porto.", "In Rome."])

    vectors, likeness = vectors.likeness(encoder, "Where?", ["In Porto.", "In Oslo."])

    assert len(likeness) == 2
    assert encoder.asked.count("In Porto.") == 1
    vectors.likeness(encoder, "Where?", ["In Oslo.", "In Rome."])
    assert encoder.asked.count("In Rome.") == 2
    assert encoder.asked.count("In Oslo.") == 1
