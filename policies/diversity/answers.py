"""Extracts the vote of a reply: a choice, a number, or a few words. A reply without any abstains.

Small models say much around an answer, and only equal votes are counted together; so answers are normalised:
the label of a choice, a number without trailing zeros, words without case and articles.
"""

import re
import string
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

from populace.policies.reply_checks import number_text

AnswerKind = Literal["choice", "number", "words"]

WORDS_MAX = 12
"""A reply of more words is a text and no vote, since no two texts are the same."""

_ARTICLES = frozenset({"a", "an", "the"})
_LABELED = re.compile(r"(?:answer|choice|option)\W+(?:is\W+)?\(?([A-Z])\b(?!')", re.IGNORECASE)
_AT_FRONT = re.compile(r"\s*\(?([A-Z])(?:[).:,]|\s*$)")


def extractor(kind: AnswerKind, choices: Sequence[str] = ()) -> Callable[[str], str | None]:
    """Return a function that reads votes of this kind. ``choices`` are labelled A, B, C …, at most 26.

    Raises ``ValueError`` for too few, too many or equal choices.
    """
    if kind == "number":
        return number_of
    if kind == "words":
        return words_of
    same = {words_of(choice, words_max=None) for choice in choices}
    if not 2 <= len(choices) <= 26 or len(same) != len(choices):
        raise ValueError(f"two to 26 different choices are chosen from, not {list(choices)}")
    return lambda reply: choice_of(reply, choices)


def choice_of(reply: str, choices: Sequence[str]) -> str | None:
    """The label of the choice that the reply names as the answer, at its beginning, or by its words.

    A reply that names none, or several by their words only, abstains: None.
    """
    labels = string.ascii_uppercase[: len(choices)]
    for pattern in (_LABELED, _AT_FRONT):
        found = pattern.match(reply) if pattern is _AT_FRONT else pattern.search(reply)
        if found is not None and found[1].upper() in labels:
            return found[1].upper()
    said = f" {' '.join(_words(reply))} "
    named = [
        (label, words)
        for label, words in zip(labels, (" ".join(_words(choice)) for choice in choices), strict=True)
        if words and f" {words} " in said
    ]
    # "New York" names York too: a choice that is a part of another named one is not meant.
    meant = [
        label
        for label, words in named
        if not any(words != other and f" {words} " in f" {other} " for _, other in named)
    ]
    return meant[0] if len(meant) == 1 else None


def number_of(reply: str) -> str | None:
    """The last number in the reply in its shortest form: ``1,200.50`` is ``1200.5``."""
    found = number_text(reply)
    if found is None:
        return None
    try:
        value = Decimal(found).normalize()
    except InvalidOperation:
        return None
    return f"{value + 0:f}"


def words_of(reply: str, *, words_max: int | None = WORDS_MAX) -> str | None:
    """The words of the reply's first line, in lower case and without articles and marks."""
    lines = [line for line in reply.splitlines() if line.strip()]
    words = _words(lines[0]) if lines else []
    kept = [word for word in words if word not in _ARTICLES] or words
    if not kept or (words_max is not None and len(kept) > words_max):
        return None
    return " ".join(kept)


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())
