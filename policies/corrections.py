"""Decides which of a person's corrections applies to a question.

A person corrected the reply to an earlier question. The same question, also in other words, is to be answered
as corrected; any other is to be left alone. So a correction applies to another question only if what most
tells of both is in both, or a sentence encoder finds both alike, and nothing says that they ask for different
things.
"""

from collections.abc import Sequence
from typing import NamedTuple

from populace.policies.retrieval import text_key, words_of
from populace.policies.same_question import OWN_MIN, may_ask_the_same, may_mean_the_same, similar_enough
from populace.policies.word_weights import WordWeights, beginnings

CORRECTED_BYTES = 250
"""The bytes of a correction besides its texts: the tuple, its numbers and its place."""


LIKENESS_MIN = 0.7
"""The least likeness of two questions in meaning, the cosine of their vectors.

docs/retrieval.md has what this finds, and what it takes for something else.
"""


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
        self._same = {text_key(correction.asked): correction.position for correction in corrections}
        self._asked = [beginnings(words_of(correction.asked)) for correction in corrections]
        self._told = [
            words.union(beginnings(words_of(correction.wanted)))
            for words, correction in zip(self._asked, corrections, strict=True)
        ]
        self._weights = WordWeights(self._told)

    def applying(self, question: str, likeness: Sequence[float] = ()) -> int | None:
        """Return the position of the correction that applies to the question, None for none.

        It is that of the same question, of equal ones the newest; or else of the most alike in meaning that
        may mean the same, if ``likeness`` has that of each correction's question; or else of the most similar
        in words that may ask the same and is similar enough for that (``same_question.py``).

        The similarity of question q and correction c is the product of two shares: of the weight of q's words
        that are among those of c (question or reply), and of the weight of the words of c's question that are
        in q, as ``WordWeights`` weighs them. So what is said in most questions tells little, and a name that
        only one of both has tells them apart.
        """
        wanted = beginnings(words_of(question))
        if not wanted:
            return None
        same = self._same.get(text_key(question))
        if same is None and likeness:
            same = self._alike(question, likeness)
        return self._similar(question, wanted) if same is None else same

    def _alike(self, question: str, likeness: Sequence[float]) -> int | None:
        alike = [
            (like, correction.position)
            for like, correction in zip(likeness, self._corrections, strict=True)
            if like >= LIKENESS_MIN and may_mean_the_same(question, correction.asked, correction.wanted)
        ]
        return max(alike)[1] if alike else None

    def _similar(self, question: str, wanted: frozenset[str]) -> int | None:
        weight = self._weights.of
        whole = weight(wanted)
        best, newest = OWN_MIN, None
        for correction, of_question, of_all in zip(self._corrections, self._asked, self._told, strict=True):
            shared = wanted & of_all
            if not (shared and of_question):
                continue
            similar = weight(shared) / whole * weight(wanted & of_question) / weight(of_question)
            if (
                similar >= best
                and similar >= similar_enough(question, correction.asked)
                and may_ask_the_same(question, correction.asked, correction.wanted)
            ):
                best, newest = similar, correction.position
        return newest


def applying(corrections: Sequence[Corrected], question: str, likeness: Sequence[float] = ()) -> int | None:
    """Return the position of the correction that applies to one question; see ``CorrectionFinder``."""
    return CorrectionFinder(corrections).applying(question, likeness)
