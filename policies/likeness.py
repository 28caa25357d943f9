"""Measures how alike a reply and a text are, by the letters of their words in any order and case.

It needs no model and says the same each time. It hears how something is said and not whether it is true: a
sentence with another name in it is nearly the same sentence.
"""

import re
from difflib import SequenceMatcher

LEAST = 0.5
"""The likeness from which texts count as alike, measured: docs/learning.md has what it tells apart."""

CHARACTERS_MAX = 1000
"""Only the first characters of a longer text are compared, since the time of a comparison is squared."""


def likeness(reply: str, wanted: str) -> float:
    """Return how like the texts are, from 0 to 1; 1 if they have the same words.

    It is twice the number of characters in common blocks (Ratcliff and Obershelp, 1988) over all characters,
    after each text's words were put into the order of their letters, without marks and capitals. Of two texts
    without a word, equal ones are alike and others not at all. Takes 0.1 s for two of ``CHARACTERS_MAX``.
    """
    # Ordered, for its result depends on which text comes first.
    one, other = sorted((_ordered(reply), _ordered(wanted)))
    if not one:
        return float(reply.strip() == wanted.strip())
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _ordered(text: str) -> str:
    return " ".join(sorted(re.findall(r"\w+", text[:CHARACTERS_MAX].lower())))
