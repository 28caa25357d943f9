"""The ordered lists of ``how_much_fits.py``: invented items, and what is asked for each of them."""

import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

Way = Literal["position", "neighbour"]
"""How an item is asked for: by its place in the list, or by the item before it."""

ONSETS = [*"bdfghklmnprstvz", "br", "dr", "gl", "pl", "st"]
VOWELS = [*"aeiou", "ai", "ou"]
CODAS = ["", *"lmnrtx", "sk"]
WORDS = 3
"""Words of an item."""
SYLLABLES = 2
"""Syllables of a word."""


class Question(NamedTuple):
    """A question for one item of a list, with the item as its only right answer."""

    way: Way
    ask: str
    item: str


def questions_of(seed: int) -> Iterator[Question]:
    """Ask without end for each item of a list once: by its position and by its neighbour in turn.

    An item is taught by one question alone, so that its tokens have to be held once. Equal seeds have equal
    lists.
    """
    words, before = _words(seed), ""
    number = 0
    while True:
        number += 1
        item = [next(words) for _ in range(WORDS)]
        if number % 2:
            ask = f"What is item {number} of my list?"
            yield Question("position", ask, " ".join(item))
        else:
            yield Question("neighbour", f"What comes after {before} in my list?", " ".join(item))
        before = item[-1]


def _words(seed: int) -> Iterator[str]:
    """Draw words without end, all different, so that one word names the item before."""
    source = random.Random(f"items {seed}")
    drawn: set[str] = set()
    while True:
        word = "".join(
            source.choice(ONSETS) + source.choice(VOWELS) + source.choice(CODAS) for _ in range(SYLLABLES)
        )
        if word not in drawn:
            drawn.add(word)
            yield word
