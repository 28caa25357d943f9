"""Decides which of a person's corrections applies to a question.

A person corrected the reply to an earlier question. The same question, also in other words, is to be answered
as corrected; any other is to be left alone. So a correction applies to another question only if what most
tells of both is in both, or a sentence encoder finds both alike, and nothing says that they ask for different
things.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from populace.policies.retrieval import text_key, words_of
from populace.policies.same_question import (
    OWN_MIN,
    is_english,
    knows_language,
    may_ask_the_same,
    may_mean_the_same,
    similar_enough,
)
from populace.policies.word_weights import WordWeights, beginnings

NOTHING_ALIKE: Mapping[int, float] = {}
"""It must not be changed."""

CORRECTED_BYTES = 250
"""The bytes of a correction besides its texts: the tuple, its numbers and its place."""


LIKENESS_MIN = 0.7
"""The least likeness of two questions in meaning, the cosine of their vectors.

docs/retrieval.md has what this finds, and what it takes for something else.
"""

SAME_LIKENESS = 0.85
"""A newer correction of a question as alike as this goes before that of the same question."""

AS_ALIKE = 0.9
"""A newer correction that is nearly as alike as the most alike one corrects the same anew."""

COMPARED_MAX = 512
"""The newest corrections are compared in their meaning, at most this many."""


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
    """Finds the correction that applies to each of several questions.

    The corrections are in the order in which they were given, which need not be the log's.
    """

    def __init__(self, corrections: Sequence[Corrected]) -> None:
        """Split the corrections into words, which takes time in proportion to them."""
        self._corrections = corrections
        self._place = {correction.position: place for place, correction in enumerate(corrections)}
        self._same = {text_key(correction.asked): correction.position for correction in corrections}
        self._asked = [beginnings(words_of(correction.asked)) for correction in corrections]
        self._told = [
            words.union(beginnings(words_of(correction.wanted)))
            for words, correction in zip(self._asked, corrections, strict=True)
        ]
        self._weights = WordWeights(self._told)

    def applying(self, question: str, likeness: Mapping[int, float] = NOTHING_ALIKE) -> int | None:
        """Return the position of the correction that applies to the question, None for none.

        It is that of the same question, of equal ones the last given; or else of the most alike in meaning,
        by the ``likeness`` of those that are ``comparable``, by their positions; or else of the most similar
        in words that may ask the same and is similar enough for that (``same_question.py``). What is nearly
        as alike and was corrected later corrects it anew.

        The similarity of question q and correction c is the product of two shares: of the weight of q's words
        that are among those of c (question or reply), and of the weight of the words of c's question that are
        in q, as ``WordWeights`` weighs them. So what is said in most questions tells little, and a name that
        only one of both has tells them apart.
        """
        wanted = beginnings(words_of(question))
        if not wanted:
            return None
        same = self._same.get(text_key(question))
        alike = self._alike(question, likeness, LIKENESS_MIN if same is None else SAME_LIKENESS)
        if same is not None:
            return same if alike is None else max(same, alike, key=self._place.__getitem__)
        return self._similar(question, wanted) if alike is None else alike

    def _alike(self, question: str, likeness: Mapping[int, float], least: float) -> int | None:
        """Return the position of the most alike that may mean the same, or of what corrected that anew."""
        alike = {
            one.position: one
            for one in self._corrections
            if likeness.get(one.position, 0.0) >= least and may_mean_the_same(question, one.asked, one.wanted)
        }
        best = max(alike, key=lambda at: (likeness[at], self._place[at]), default=None)
        if best is None:
            return None
        anew = [
            at
            for at, one in alike.items()
            if likeness[at] >= AS_ALIKE * likeness[best]
            and may_mean_the_same(alike[best].asked, one.asked, one.wanted)
        ]
        return max(anew, key=self._place.__getitem__, default=best)

    def _similar(self, question: str, wanted: frozenset[str]) -> int | None:
        weight = self._weights.of
        whole, is_known = weight(wanted), knows_language(question)
        best, newest = OWN_MIN, None
        for correction, of_question, of_all in zip(self._corrections, self._asked, self._told, strict=True):
            shared = wanted & of_all
            if not (shared and of_question):
                continue
            similar = weight(shared) / whole * weight(wanted & of_question) / weight(of_question)
            # No rule tells questions of other languages apart, so such a one may have no word of its own.
            if not wanted <= of_all and not (is_known and knows_language(correction.asked)):
                continue
            if (
                similar >= best
                and similar >= similar_enough(question, correction.asked)
                and may_ask_the_same(question, correction.asked, correction.wanted)
            ):
                best, newest = similar, correction.position
        return newest


def applying(
    corrections: Sequence[Corrected], question: str, likeness: Mapping[int, float] = NOTHING_ALIKE
) -> int | None:
    """Return the position of the correction that applies to one question; see ``CorrectionFinder``."""
    return CorrectionFinder(corrections).applying(question, likeness)


def comparable(corrections: Sequence[Corrected], question: str) -> Sequence[Corrected]:
    """Return those of the corrections, in their order, whose meaning is compared with a question's."""
    return corrections[-COMPARED_MAX:] if is_english(question) else ()
