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
    empty, texts = SentenceVectors(), ["I live in Porto.", "I sing.", "I sing."]
    assert empty.missing(texts) == texts[:2]

    vectors = empty.extended(encoder, empty.missing(texts))
    likeness = vectors.likeness(encoder, "Where do I live?", [*texts, "It rains."])

    assert encoder.asked == [*texts[:2], "Where do I live?"]
    assert vectors.missing(texts) == []
    assert likeness[0] > likeness[1] == likeness[2]
    assert likeness[3] == 0.0, "it has no vector"
    assert empty.bytes == 0
    assert vectors.bytes > 2 * 384 * 2


def test_of_too_many_those_that_are_needed_now_stay(
    encoder: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence_vectors, "VECTORS_MAX", 2)
    vectors = SentenceVectors().extended(encoder, ["In Porto.", "In Rome."])

    vectors = vectors.extended(encoder, ["In Oslo."])

    assert vectors.missing(["In Porto.", "In Rome.", "In Oslo."]) == ["In Porto.", "In Rome."]
