"""Tells two questions apart that are alike in their words or their meaning, and ask for different things.

Neither the words that two questions share nor a sentence encoder tell "first" from "last", "in maths 2" from
"in maths 3", or what one may take from what one may not. All words here are English.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from populace.policies.common_words import is_content
from populace.policies.ownership import names_in, words_in
from populace.policies.questions import is_question
from populace.policies.retrieval import signs_of, words_of

SAME_AROUND = 3
IN_PLACE = 2
"""Two questions ask for different things if at least ``SAME_AROUND`` words around at most ``IN_PLACE`` others
are the same."""

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
        ("grandmother grandma granny grandmothers", "grandfather grandpa granddad grandfathers"),
        ("granddaughter granddaughters", "grandson grandsons"),
        ("stepmother stepmom stepmum", "stepfather stepdad"),
        ("mother mom mum", "father dad"),
        ("sister stepsister", "brother stepbrother"),
        ("password", "passport"),
    )
)

_NEGATION = re.compile(r"n['’]t\b|\b(?:not|never|avoid|except|without|cannot)\b", re.IGNORECASE)

_ADVISING = re.compile(r"\bshould (?:i|we)\b|\b(?:suggest|recommend|advise)\b", re.IGNORECASE)
"""What asks what to do, beside what asks for how it is; "how hot should the oven be" does not."""

Kinds = Mapping[str, re.Pattern[str]]
"""What asks for each of several kinds of thing."""


def kinds_by(words: Mapping[str, str]) -> Kinds:
    """Compile the alternatives of words that ask for each kind."""
    return {kind: re.compile(rf"\b(?:{one})\b", re.IGNORECASE) for kind, one in words.items()}


def kinds_of(text: str, kinds: Kinds) -> frozenset[str]:
    """Return the kinds for which a text has a word."""
    return frozenset(kind for kind, words in kinds.items() if words.search(text))


def differ(words: re.Pattern[str], question: str, other: str) -> bool:
    """Return whether only one of both has one of the words."""
    return (words.search(question) is None) != (words.search(other) is None)


_ASKED = kinds_by(
    {
        "manner": "how (?:can|could|did|do|does) (?:i|you|we|they) (?!call|say)",
        "person": "who|whom|whose",
        "place": "where",
        "time": "when (?:am|are|can|did|do|does|has|have|is|must|was|will)|what (?:date|day|time|year)",
    }
)
"""What is asked for, if a word says so; "what" and "which" do not."""

_BEHIND = re.compile(r":(?=\s)|\n")
"""What stands between an instruction and the text that it is for."""

_TO_ASKER = re.compile(r"\b(?:tell|remind|give|show) (?:me|us)\b", re.IGNORECASE)

_AT_ANOTHER_TIME = frozenset(
    ["before", "previously", "formerly", "used", "tomorrow", "yesterday", "tonight", "next", "last", "ago"]
)

_SUBJECTS = frozenset(["i", "we"])
_OBJECTS = frozenset(["me", "us"])


def are_told_apart(question: str, other: str, answer: str) -> bool:
    """Return whether a word or two say that a question asks for something else than the ``other`` one did.

    They do if only one of both is negated or asks for advice; if one asks for a place and the other for a
    time, a person or a way; if the question has a number or a time of which
    neither the other one nor its answer speaks; if they differ in a sign such as + or in the text that they
    are for, behind a colon; if each has a name that the other has not, or a word that is
    the opposite of the other's; if the person does something to a named one in the one question, and that one
    to the person in the other; or if both are the same but for the thing in one place.
    """
    known = f"{other} {answer}"
    asked, its, told = (frozenset(words_of(text)) for text in (question, other, known))
    return (
        any(differ(words, question, other) for words in (_NEGATION, _ADVISING))
        or _are_asked_otherwise(question, other)
        or not frozenset(filter(str.isdigit, asked)) <= told
        or not asked & _AT_ANOTHER_TIME <= told
        or signs_of(question) != signs_of(other)
        or _given(question) != _given(other)
        or bool(names_in(question) - words_in(known) and names_in(other) - words_in(question))
        or _are_opposed(asked - its, its - asked)
        or _have_other_roles(question, other)
        or _have_another_in_place(words_of(question), words_of(other))
    )


def _given(text: str) -> list[str]:
    """Return the words of what a request is for, behind its colon: "Correct this: He like fish."

    A question there is what is asked, as in "Remind me: what is my dog called?"
    """
    match = _BEHIND.search(text)
    given = "" if match is None else text[match.end() :]
    return [] if is_question(given) else words_of(given)


def _are_asked_otherwise(question: str, other: str) -> bool:
    asked, its = kinds_of(question, _ASKED), kinds_of(other, _ASKED)
    return bool(asked and its) and asked.isdisjoint(its)


def _are_opposed(asked: frozenset[str], its: frozenset[str]) -> bool:
    """Return whether a word that only the one has is the opposite of one that only the other has."""
    return any(
        (asked & one and its & another) or (asked & another and its & one) for one, another in _OPPOSITES
    )


def _have_other_roles(question: str, other: str) -> bool:
    """As in "what do I owe Tom" and "what does Tom owe me"."""
    if names_in(question).isdisjoint(names_in(other)):
        return False
    role, its = _role_in(question), _role_in(other)
    return role is not None and its is not None and role != its


def _role_in(text: str) -> bool | None:
    """Whether the person is the subject, and not the object; None if both or neither."""
    words = frozenset(words_of(_TO_ASKER.sub(" ", text)))
    is_subject, is_object = not words.isdisjoint(_SUBJECTS), not words.isdisjoint(_OBJECTS)
    return is_subject if is_subject != is_object else None


def _have_another_in_place(asked: Sequence[str], its: Sequence[str]) -> bool:
    """Return whether one has another thing where the other has one, and all words around it are the same."""
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
