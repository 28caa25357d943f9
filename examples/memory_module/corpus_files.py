"""The phrases of which ``own_words`` makes episodes, read from the files under ``corpus/``."""

import hashlib
import json
import math
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple, cast

from examples.memory_module.values import Part

FOLDER = "corpus"

HELD_OUT_SHARE = 0.15
"""This share of the phrases for telling and asking is used only in held-out episodes.

They measure how well a module handles phrases that it was not trained on.
"""

AMBIGUOUS = (
    {"city", "village", "home town", "favorite city", "next trip", "workplace city"},
    {"wife", "husband", "fiance", "girlfriend", "boyfriend"},
    {"dog", "puppy"},
    {"cat", "kitten"},
    {"school", "university"},
    {"favorite subject", "field of study"},
    {"boss", "team lead"},
    {"favorite game", "favorite board game"},
    {"favorite music", "favorite singer", "band"},
    {"favorite poet", "favorite author"},
    {"favorite restaurant", "favorite cafe"},
    {"favorite movie", "favorite song", "favorite book"},
    {"favorite food", "usual breakfast"},
    {"age", "lucky number", "shoe size"},
)
"""Groups of attributes that one question could mean; a person of an episode has at most one of each group."""


def distinct_attributes(names: Iterable[str], count: int) -> list[str]:
    """Return the first ``count`` of the names of which no two are in one group of ``AMBIGUOUS``."""
    chosen: list[str] = []
    for name in names:
        if len(chosen) == count:
            break
        if not any(name in group and group.intersection(chosen) for group in AMBIGUOUS):
            chosen.append(name)
    return chosen


class AttributePhrases(NamedTuple):
    """The phrases for one attribute, whose values are of this ``kind``.

    They tell its value ``{v}``, ask for it, change it, answer it, and say that it is not known.
    """

    kind: str
    tell: tuple[str, ...]
    ask: tuple[str, ...]
    change: tuple[str, ...]
    answer: tuple[str, ...]
    unknown: tuple[str, ...]


class PersonalRequest(NamedTuple):
    """A request that needs an attribute's value without asking for it, and a reply with the value ``{v}``."""

    attribute: str
    ask: str
    reply: str


class NeverTold(NamedTuple):
    """A personal question about something that no episode tells, and the answer that it is not known."""

    ask: str
    unknown: str


@cache
def attribute_phrases() -> dict[str, AttributePhrases]:
    """Return the phrases of all attributes by name."""
    attributes = json.loads(_text("ways.json"))
    return {
        name: AttributePhrases(
            phrases["kind"], *(tuple(phrases[part]) for part in AttributePhrases._fields[1:])
        )
        for name, phrases in attributes.items()
    }


@cache
def phrases_of(part: Part) -> dict[str, AttributePhrases]:
    """Return the phrases of all attributes, with those for telling and asking that only this part uses."""
    return {
        name: phrases._replace(tell=_of_part(phrases.tell, part), ask=_of_part(phrases.ask, part))
        for name, phrases in attribute_phrases().items()
    }


def _of_part(phrases: tuple[str, ...], part: Part) -> tuple[str, ...]:
    return tuple(phrase for phrase in phrases if (phrase in _held_out()) == (part == "held-out"))


@cache
def _held_out() -> frozenset[str]:
    """Hold out some phrases of each attribute; one that two attributes share is held out for both."""
    held_out: set[str] = set()
    for attribute in attribute_phrases().values():
        for phrases in (attribute.tell, attribute.ask):
            held_out.update(_held_out_share(phrases))
    return frozenset(held_out)


def _held_out_share(phrases: Iterable[str]) -> list[str]:
    """Return ``HELD_OUT_SHARE`` of the phrases, at least one, chosen by their hashes."""
    ordered = sorted(phrases, key=lambda phrase: hashlib.sha256(phrase.encode()).digest())
    return ordered[: math.ceil(HELD_OUT_SHARE * len(ordered))]


@cache
def personal_requests() -> tuple[PersonalRequest, ...]:
    """Return all requests that need an attribute's value; both parts use them."""
    return tuple(PersonalRequest(**fields) for fields in json.loads(_text("personal_requests.json")))


@cache
def never_told(part: Part) -> tuple[NeverTold, ...]:
    """Return the questions about things that are never told, those that only this part uses."""
    questions = [NeverTold(**fields) for fields in json.loads(_text("never_told.json"))]
    held_out = _held_out_share([question.ask for question in questions])
    return tuple(question for question in questions if (question.ask in held_out) == (part == "held-out"))


@cache
def listed_values() -> dict[str, tuple[str, ...]]:
    """Return values by kind, for kinds of which ``values.py`` has no list."""
    return {kind: tuple(values) for kind, values in json.loads(_text("values.json")).items()}


@cache
def lines(name: str) -> tuple[str, ...]:
    """Return the lines of ``requests``, ``chatter``, ``fillers`` or ``replies``."""
    return tuple(line for line in _text(f"{name}.txt").splitlines() if line)


def _text(name: str) -> str:
    folder = files(cast("str", __package__)).joinpath(FOLDER)
    return folder.joinpath(name).read_text(encoding="utf-8")
