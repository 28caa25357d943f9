"""Decides whether a reply is learned as the answer to a question about what a person told.

A small model that reads what was told makes much up beside it. What is learned is said for good, so a reply
counts only if it is nothing but the answer: it has a word that only the telling has, says nothing of which
neither telling nor question speaks, does not speak of the person in the person's own words, and has a number
or a time if it is asked for one. All others are left to retrieval.
"""

import re

from populace.policies.common_words import is_content
from populace.policies.questions import told_in
from populace.policies.retrieval import words_of
from populace.policies.word_weights import beginnings

NAMING = "name"
"""How a thing is called and what its name is are one question: ``call`` counts as this word."""

_OF_ANSWERS = (
    "your yours yourself yes s re ve d ll their theirs them she her hers him its been were had named also"
)
OF_ANSWERS = frozenset(_OF_ANSWERS.split())
"""Words of answers that say nothing of their own; requests, whose words are listed, hardly have them."""

NEGATION = re.compile(r"n['’]t\b|\b(?:not|never|no|nor|neither|without|cannot)\b", re.IGNORECASE)
"""What was told with one of these is not answered without any."""

_CLAUSE = re.compile(r"[.!?;:\n]\s*|,\s|\s(?:and|but)\s")

OWN_WORDS = frozenset(["i", "my", "me", "mine", "myself", "am", "we", "our", "ours", "us"])
"""What a person says of themselves; in a reply it is an echo, or the model speaks of itself."""


_MEASURED = re.compile(
    r"^\W*(?:(?:and|so|hey|ok(?:ay)?|please|tell me|remind me|do you (?:know|remember))\W+)*"
    r"(?:when\b|(?:at |on |in )?(?:what|which) (?:time|day|date|month|year)\b)|\bhow (?:old|many|much)\b",
    re.IGNORECASE,
)
"""What asks for a time, an age or an amount."""

_MEASURES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred "
    "thousand million half quarter dozen first second third fourth fifth sixth seventh eighth ninth "
    "tenth noon midnight morning afternoon evening night today tomorrow yesterday week weekend month "
    "year spring summer autumn fall winter monday mondays tuesday tuesdays wednesday wednesdays "
    "thursday thursdays friday fridays saturday saturdays sunday sundays january february march april "
    "may june july august september october november december christmas easter"
)
MEASURES = frozenset(_MEASURES.split())
"""Words of times and numbers, besides digits."""


def value_words(told: str, question: str) -> frozenset[str]:
    """Return the words that a reply to the question can have from what was told alone."""
    asked = frozenset(words_of(question))
    return frozenset(word for word in words_of(told_in(told)) if word not in asked and is_content(word))


def named(words: list[str]) -> frozenset[str]:
    """Return the beginnings of the words, with one word for how a thing is called."""
    return frozenset(NAMING if word == "call" else word for word in beginnings(words))


def is_answer(told: str, question: str, reply: str) -> bool:
    """Return whether the reply is an answer to the question that is learned from what was told."""
    said = words_of(reply)
    known = named([*words_of(told), *words_of(question)])
    # "You live in Oslo" is no answer to where the person's sister lives.
    is_of_person = "my" in words_of(question) and "you" in said and "your" not in said
    about = [word for word in said if is_content(word) and word not in OF_ANSWERS]
    return (
        not value_words(told, question).isdisjoint(said)
        and OWN_WORDS.isdisjoint(said)
        and not is_of_person
        and named(about) <= known
        and _is_measured(question, said)
        and (NEGATION.search(reply) is not None or not _is_denied(told, question, said))
    )


def _is_denied(told: str, question: str, said: list[str]) -> bool:
    """Return whether what is said of the telling is in a clause of it that says no."""
    values = value_words(told, question).intersection(said)
    clauses = _CLAUSE.split(told_in(told))
    return any(NEGATION.search(one) and not values.isdisjoint(words_of(one)) for one in clauses)


def _is_measured(question: str, said: list[str]) -> bool:
    """Return whether a reply to what asks for a time, an age or an amount has one."""
    has_digit = any(any(map(str.isdigit, word)) for word in said)
    return _MEASURED.search(question) is None or has_digit or not MEASURES.isdisjoint(said)
