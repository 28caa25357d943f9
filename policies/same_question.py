"""Decides whether two questions that share words may ask for the same thing.

What answered the one is said for the other, so a doubt decides against it. All words here are English;
questions of other languages ask for the same only if all words of the one are among those of the other.

Two questions may be alike in their words or their meaning, and ask for different things.
Neither the words that two questions share nor a sentence encoder tell "first" from "last", "in maths 2" from
"in maths 3", or what one may take from what one may not. All words here are English.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import takewhile

from populace.policies.common_words import SHARES, is_content
from populace.policies.ownership import names_in, owned, owners_in, speaks_of_self, words_in
from populace.policies.questions import ADVICE, is_question
from populace.policies.retrieval import signs_of, words_of
from populace.policies.word_weights import beginnings

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
