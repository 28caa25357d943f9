"""Decides which of a person's corrections applies to a question, by the words that both have.

A person corrected the reply to an earlier question. The same question, or one in nearly the same words, is to
be answered as corrected; any other is to be left alone. So a correction applies only if what most tells of
both questions is in both.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from populace.policies.common_words import REQUESTS, SHARES
from populace.policies.retrieval import words_of

SIMILAR_MIN = 0.23
"""The least similarity, measured: docs/retrieval.md has what it finds and what it takes for a correction."""

BEGINNING = 4
"""Words with the same first letters count as one word: rent, renting and rental."""

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


def applying(corrections: Sequence[Corrected], question: Collection[str]) -> int | None:
    """Return the position of the correction that applies to a question with these words; None if none does.

    It is the most similar one, of equal ones the newest. The similarity of question q and correction c is the
    product of two shares: of the weight of q's words that are among those of c (question or reply), and of
    the weight of the words of c's question that are in q. A word weighs ln(1 + (N - n + ½) / (n + ½))², the
    square of its weight in BM25, if n of N texts have it: the corrections, and ``REQUESTS`` others of the
    language of the list of common words. So what is said in most questions tells little, and a name that only
    one of both has tells them apart. Takes time in proportion to all words.
    """
    asked = [_beginnings(words_of(correction.asked)) for correction in corrections]
    told = [
        words.union(_beginnings(words_of(one.wanted))) for words, one in zip(asked, corrections, strict=True)
    ]
    having = Counter(word for words in told for word in words)
    count = len(corrections) + REQUESTS

    def weight(words: Collection[str]) -> float:
        among = [having[word] + max(1.0, REQUESTS * _SHARES.get(word, 0.0)) for word in words]
        return sum(math.log1p((count - n + 0.5) / (n + 0.5)) ** 2 for n in among)

    wanted = _beginnings(question)
    whole = weight(wanted)
    best, newest = SIMILAR_MIN, None
    for correction, of_question, of_all in zip(corrections, asked, told, strict=True):
        shared = wanted & of_all
        if shared and of_question:
            similar = weight(shared) / whole * weight(wanted & of_question) / weight(of_question)
            if similar >= best:
                best, newest = similar, correction.position
    return newest


def _beginnings(words: Collection[str]) -> frozenset[str]:
    return frozenset(word[:BEGINNING] for word in words)


def _shares() -> dict[str, float]:
    """The shares of requests that have a word with each beginning, if each had at most one such word."""
    shares: dict[str, float] = {}
    for word, share in SHARES.items():
        shares[word[:BEGINNING]] = min(1.0, shares.get(word[:BEGINNING], 0.0) + share)
    return shares


_SHARES = _shares()
