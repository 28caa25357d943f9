"""Decides which of a person's corrections applies to a question, by the words that both have.

A person corrected the reply to an earlier question. The same question, or one in nearly the same words, is to
be answered as corrected; any other is to be left alone. So a correction applies only if what most tells of
both questions is in both.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from populace.policies.retrieval import words_of
from populace.policies.word_weights import WordWeights, beginnings

SIMILAR_MIN = 0.23
"""The least similarity, measured: docs/retrieval.md has what it finds and what it takes for a correction."""

CORRECTED_BYTES = 250
"""The bytes of a correction besides its texts: the tuple, its numbers and its place."""


class Corrected(NamedTuple):
    """A turn that was corrected: the question, and the reply that was wanted instead."""

    position: int
    asked: str
    wanted: str

    @property
    def bytes(self) -> int:
        """An estimate of the memory that it takes."""
        return CORRECTED_BYTES + 2 * (len(self.asked) + len(self.wanted))


class CorrectionFinder:
    """Finds the correction that applies to each of several questions."""

    def __init__(self, corrections: Sequence[Corrected]) -> None:
        """Split the corrections into words, which takes time in proportion to them."""
        self._corrections = corrections
        self._asked = [beginnings(words_of(correction.asked)) for correction in corrections]
        self._told = [
            words.union(beginnings(words_of(correction.wanted)))
            for words, correction in zip(self._asked, corrections, strict=True)
        ]
        self._weights = WordWeights(self._told)

    def applying(self, question: Collection[str]) -> int | None:
        """Return the position of the correction that applies to a question with these words, None for none.

        It is the most similar one, of equal ones the newest. The similarity of question q and correction c is
        the product of two shares: of the weight of q's words that are among those of c (question or reply),
        and of the weight of the words of c's question that are in q, as ``WordWeights`` weighs them. So what
        is said in most questions tells little, and a name that only one of both has tells them apart.
        """
        weight, wanted = self._weights.of, beginnings(question)
        whole = weight(wanted)
        best, newest = SIMILAR_MIN, None
        for correction, of_question, of_all in zip(self._corrections, self._asked, self._told, strict=True):
            shared = wanted & of_all
            if shared and of_question:
                similar = weight(shared) / whole * weight(wanted & of_question) / weight(of_question)
                if similar >= best:
                    best, newest = similar, correction.position
        return newest


def applying(corrections: Sequence[Corrected], question: Collection[str]) -> int | None:
    """Return the position of the correction that applies to one question; see ``CorrectionFinder``."""
    return CorrectionFinder(corrections).applying(question)
