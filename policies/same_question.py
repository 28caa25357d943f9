"""Decides whether two questions that share words may ask for the same thing.

What answered the one is said for the other, so a doubt decides against it. All words here are English;
questions of other languages ask for the same only if all words of the one are among those of the other.
"""

import re
import unicodedata

from populace.policies.common_words import SHARES
from populace.policies.ownership import names_in, owned, owners_in, speaks_of_self, words_in
from populace.policies.questions import ADVICE, is_question
from populace.policies.retrieval import words_of
from populace.policies.told_apart import are_told_apart, differ, kinds_by, kinds_of
from populace.policies.word_weights import beginnings

OWN_MIN = 0.2
"""The least similarity of two questions for the same thing of the person's own; see ``similar_enough``."""

OF_SELF_MIN = 0.25
"""That of two questions about the person."""

NAMED_MIN = 0.3
"""That of two questions about someone or something whose name both have."""

SIMILAR_MIN = 0.5
"""That of all others. docs/retrieval.md has what these find, and what they take for something else."""

ENGLISH_SHARE = 0.2
"""The least share of a question's words that are common English ones, for its meaning to be compared."""

_KINDS = kinds_by(
    {
        "age": "how old|age|aged|years old",
        "amount": "how (?:much|many|tall|long|big|heavy|far|large)|price|cost|costs|rent|size|height|weight",
        "color": "colou?rs?",
        "job": "jobs?|profession|occupation|for a living",
        "time": "when|date|days?|birthday|anniversary|what time|(?:which|what) (?:month|year)",
    }
)
"""What a question may ask for, if its words say so. For a name there are too many of them."""

_ASKING = re.compile(
    r"\?|\b(?:whats?|whos?|whom|whose|wheres?|when|which|how|please|remind|tell me|need|forgot|remember)\b"
    r"|^\W*(?:please )?(?:name|give|say|list|show|recall|spell|describe)\b",
    re.IGNORECASE,
)
"""What may ask for something. What it does not match tells, as "My flight is at noon." """

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


def may_ask_the_same(question: str, other: str, answer: str) -> bool:
    """Return whether a question may ask for what the ``other`` one did, which has this answer.

    It does not if only one of them is a question, asks for advice, or asks the model about itself; if one
    asks for the person's own and the other does not, or for another of their things; if it asks for any of a
    kind ("a dog") and the other for one of them; or if their words say that they ask for different kinds of
    thing.
    """
    return (
        is_question(question) == is_question(other)
        and not any(differ(words, question, other) for words in (_TO_MODEL, _FOR_ADVICE))
        and _of_same_owner(question, other, answer)
        and not _asks_for_any(question, other)
        and _of_same_kind(question, other)
        and not are_told_apart(question, other, answer)
    )


def may_mean_the_same(question: str, other: str, answer: str) -> bool:
    """Return whether a question that is alike in meaning may ask for what the ``other`` one did.

    It does not if it tells something and the other one asks, or the other way round; if only one of them asks
    the model about itself; if one asks for the person's own and the other does not, or for another of their
    things; if they ask for different kinds of thing, or a word tells them apart; or if one is not English, of
    which the encoder and the words here know nothing.
    """
    return (
        asks_for_something(question) == asks_for_something(other)
        and is_english(question)
        and is_english(other)
        and not differ(_TO_MODEL, question, other)
        and _of_same_owner(question, other, answer)
        and _of_same_kind(question, other)
        and not are_told_apart(question, other, answer)
    )


def asks_for_something(text: str) -> bool:
    """Return whether a message may be a question, also without its mark or beside something that it tells."""
    return _ASKING.search(text) is not None


def is_english(text: str) -> bool:
    """Return whether all letters are Latin, and enough of the words are common English ones."""
    words = words_of(text)
    is_latin = all(unicodedata.name(letter, "").startswith("LATIN") for letter in filter(str.isalpha, text))
    return is_latin and sum(word in SHARES for word in words) >= ENGLISH_SHARE * len(words) > 0


def knows_language(text: str) -> bool:
    """Return whether the words here may tell the text from others: it is English, or speaks of "my" thing."""
    return is_english(text) or bool(owned(text))


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
    kinds, its = kinds_of(question, _KINDS), kinds_of(other, _KINDS)
    if kinds and its:
        return not kinds.isdisjoint(its)
    if not (kinds or its):
        return True
    return _NAMING.search(other if kinds else question) is None
