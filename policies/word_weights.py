"""Weighs a word that two texts share: the rarer it is among texts of their kind, the more it counts."""

import math
from collections import Counter
from collections.abc import Collection, Sequence

from populace.policies.common_words import REQUESTS, SHARES

BEGINNING = 4
"""Words with the same first letters count as one word: rent, renting and rental."""


_SAME = {
    "apartment": "flat",
    "dad": "father",
    "job": "work",
    "jobs": "work",
    "kid": "child",
    "kids": "child",
    "mom": "mother",
    "mum": "mother",
    "occupation": "work",
}
"""What people call the same thing of theirs, which is told as one and asked for as the other."""


class WordWeights:
    """The weights of words among some texts, each given by the beginnings of its words.

    A word weighs ln(1 + (N - n + ½) / (n + ½))², the square of its weight in BM25, if n of N texts have it:
    the given ones, and ``REQUESTS`` others of the language of the list of common words.
    """

    def __init__(self, texts: Sequence[Collection[str]]) -> None:
        self._having = Counter(word for text in texts for word in text)
        self._count = len(texts) + REQUESTS

    def of(self, words: Collection[str]) -> float:
        """Return the sum of the weights of words, each given by its beginning."""
        return sum(map(self._weight, words))

    def _weight(self, word: str) -> float:
        among = self._having[word] + max(1.0, REQUESTS * _SHARES.get(word, 0.0))
        return math.log1p((self._count - among + 0.5) / (among + 0.5)) ** 2


def beginnings(words: Collection[str]) -> frozenset[str]:
    """Return the words' beginnings, by which they are compared."""
    return frozenset(map(beginning, words))


def beginning(word: str) -> str:
    """Return the beginning of a word, case-folded, or of that which it stands for: "job" is work."""
    return _SAME.get(word, word)[:BEGINNING]


def _shares() -> dict[str, float]:
    """The shares of requests that have a word with each beginning, if each had at most one such word."""
    shares: dict[str, float] = {}
    for word, share in SHARES.items():
        begun = beginning(word)
        shares[begun] = min(1.0, shares.get(begun, 0.0) + share)
    return shares


_SHARES = _shares()
