"""Decides whether two questions that share words may ask for the same thing.

What answered the one is said for the other, so a doubt decides against it. All words here are English;
questions of other languages are told apart by the words that they share alone.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from populace.policies.common_words import is_content
from populace.policies.ownership import names_in, owned, owners_in, speaks_of_self, words_in
from populace.policies.questions import ADVICE, is_question
from populace.policies.retrieval import words_of
from populace.policies.word_weights import beginnings

OWN_MIN = 0.2
"""The least similarity of two questions for the same thing of the person's own; see ``similar_enough``."""

OF_SELF_MIN = 0.25
"""That of two questions about the person."""

NAMED_MIN = 0.3
"""That of two questions about someone or something whose name both have."""

SIMILAR_MIN = 0.5
"""That of all others. docs/retrieval.md has what these find, and what they take for something else."""

SAME_AROUND = 3
IN_PLACE = 2
"""Two questions ask for different things if at least ``SAME_AROUND`` words around at most ``IN_PLACE`` others
are the same."""

_KINDS: Mapping[str, re.Pattern[str]] = {
    kind: re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for kind, words in {
        "age": "how old|age|aged|years old",
        "amount": "how (?:much|many|tall|long|big|heavy|far|large)|price|cost|costs|rent|size|height|weight",
        "color": "colou?rs?",
        "job": "jobs?|profession|occupation|for a living",
        "time": "when|date|days?|birthday|anniversary|what time|(?:which|what) (?:month|year)",
    }.items()
}
"""What a question may ask for, if its words say so. For a name there are too many of them."""

_NAMING = re.compile(r"\b(?:names?|named|called|call|who|whose)\b", re.IGNORECASE)

_TO_MODEL = re.compile(
    r"\b(?:your|yours|yourself)\b|\b(?:are|do|did|were|will) you\b(?! (?:know|remember|recall|tell)\b)",
    re.IGNORECASE,
)
"""What asks the model about itself."""

_FOR_ADVICE = re.compile(r"\b(?:why|should|shall|write|suggest|recommend)\b", re.IGNORECASE)

_ANY = re.compile(r"\ban? (\w+)", re.IGNORECASE)
_DEFINITE = re.compile(r"\bthe (\w+)|\b(\w+)['’]s\b", re.IGNORECASE)


def asks_model(question: str) -> bool:
    """Return whether a question asks the model about itself."""
    return _TO_MODEL.search(question) is not None


def similar_enough(question: str, other: str) -> float:
    """Return how similar two questions have to be in their words to ask for the same thing."""
    things = [thing.words for thing in owned(question)]
    is_owned = any(not one.isdisjoint(thing.words) for thing in owned(other) for one in things)
    if is_owned or not owners_in(question).isdisjoint(owners_in(other)):
        return OWN_MIN
    if ADVICE.search(question) or ADVICE.search(other):
        return SIMILAR_MIN
    if speaks_of_self(question) or speaks_of_self(other):
        return OF_SELF_MIN
    names = names_in(other)
    return NAMED_MIN if names and names <= words_in(question) else SIMILAR_MIN


_OPPOSITES = tuple(
    (frozenset(one.split()), frozenset(other.split()))
    for one, other in (
        ("first earliest", "last latest final"),
        ("begin begins start starts open opens", "end ends finish finishes close closes stop stops"),
        ("morning breakfast", "evening night dinner supper"),
        ("above upstairs", "below downstairs underneath"),
        ("oldest older eldest elder", "youngest younger"),
        ("left", "right"),
        ("arrive arrives", "leave leaves"),
        ("before", "after"),
    )
)


def may_mean_the_same(question: str, other: str, answer: str) -> bool:
    """Return whether a question that is alike in meaning may ask for what the ``other`` one did.

    It does not if only one of them asks the model about itself; if one asks for the person's own and the
    other does not, or for another of their things; if they ask for different kinds of thing; or if they
    differ in what an encoder hardly tells apart (``_differ_in_one``).
    """
    return (
        not _differ(_TO_MODEL, question, other)
        and _of_same_owner(question, other, answer)
        and _of_same_kind(question, other)
        and not _differ_in_one(question, other, answer)
    )


def _differ_in_one(question: str, other: str, answer: str) -> bool:
    """Return whether they are the same but for a number, a name, an opposite, or the thing in a place."""
    known = f"{other} {answer}"
    return (
        bool(names_in(question) - words_in(known) and names_in(other) - words_in(question))
        or not _numbers_in(question) <= _numbers_in(known)
        or _are_opposed(question, other)
        or _have_another_in_place(question, other)
    )


def _have_another_in_place(question: str, other: str) -> bool:
    """Return whether one has another thing where the other has one, and all words around it are the same."""
    asked, its = words_of(question), words_of(other)
    start = _same_at_start(asked, its)
    end = _same_at_start(asked[start:][::-1], its[start:][::-1])
    one, another = asked[start : len(asked) - end], its[start : len(its) - end]
    return (
        start + end >= SAME_AROUND
        and 0 < len(one) <= IN_PLACE
        and 0 < len(another) <= IN_PLACE
        and any(map(is_content, one))
        and any(map(is_content, another))
    )


def _same_at_start(words: Sequence[str], others: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False)))


def _numbers_in(text: str) -> frozenset[str]:
    return frozenset(word for word in words_of(text) if word.isdigit())


def _are_opposed(question: str, other: str) -> bool:
    asked, its = frozenset(words_of(question)), frozenset(words_of(other))
    mine, others = asked - its, its - asked
    return any(
        (mine & one and others & another) or (mine & another and others & one) for one, another in _OPPOSITES
    )


def may_ask_the_same(question: str, other: str, answer: str) -> bool:
    """Return whether a question may ask for what the ``other`` one did, which has this answer.

    It does not if only one of them is a question, asks for advice, or asks the model about itself; if one
    asks for the person's own and the other does not, or for another of their things; if it asks for any of a
    kind ("a dog") and the other for one of them; or if their words say that they ask for different kinds of
    thing.
    """
    return (
        is_question(question) == is_question(other)
        and not any(_differ(words, question, other) for words in (_TO_MODEL, _FOR_ADVICE))
        and _of_same_owner(question, other, answer)
        and not _asks_for_any(question, other)
        and _of_same_kind(question, other)
        and not _differ_in_one(question, other, answer)
    )


def _differ(words: re.Pattern[str], question: str, other: str) -> bool:
    return (words.search(question) is None) != (words.search(other) is None)


def _of_same_owner(question: str, other: str, answer: str) -> bool:
    things, its = owned(question), owned(other)
    asked, known = words_in(question), words_in(f"{other} {answer}")
    if speaks_of_self(other) and not speaks_of_self(question):
        # "the vet" may be the person's, and who is named is the same one.
        nouns = frozenset(thing.noun for thing in its)
        if not (nouns and nouns <= _definite(question)) and not (
            names_in(other) and names_in(other) <= asked
        ):
            return False
    if not asked.issuperset(owners_in(other)) or not known.issuperset(owners_in(question)):
        return False
    if any(thing.noun not in known for thing in things):
        return False
    return not (things and its) or any(
        not thing.words.isdisjoint(one.words) for thing in things for one in its
    )


def _definite(text: str) -> frozenset[str]:
    """Return the beginnings of the words with "the" before or an 's behind them."""
    return beginnings([(match[1] or match[2]).casefold() for match in _DEFINITE.finditer(text)])


def _asks_for_any(question: str, other: str) -> bool:
    return not (_any_in(question) & words_in(other)) <= _any_in(other)


def _any_in(text: str) -> frozenset[str]:
    """Return the beginnings of the words with "a" or "an" before them."""
    return beginnings([match[1].casefold() for match in _ANY.finditer(text)])


def _of_same_kind(question: str, other: str) -> bool:
    kinds, its = _kinds_of(question), _kinds_of(other)
    if kinds and its:
        return not kinds.isdisjoint(its)
    if not (kinds or its):
        return True
    return _NAMING.search(other if kinds else question) is None


def _kinds_of(question: str) -> frozenset[str]:
    return frozenset(kind for kind, words in _KINDS.items() if words.search(question))
