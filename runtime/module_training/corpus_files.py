"""The phrases that episodes are made of, as people write them: files beside this one, under ``corpus/``."""

import hashlib
import json
import math
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple, cast

from populace.module_training.values import Part

FOLDER = "corpus"

HELD_OUT_SHARE = 0.15
"""Of the ways of telling and asking: they say how a module does in words that it never saw."""

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
"""Attributes that some questions could mean alike; a person of an episode has one of each group."""


class AttributePhrases(NamedTuple):
    """How one attribute is told with a value ``{v}``, asked for, changed, answered and not known."""

    kind: str
    tell: tuple[str, ...]
    ask: tuple[str, ...]
    change: tuple[str, ...]
    answer: tuple[str, ...]
    unknown: tuple[str, ...]


class PersonalRequest(NamedTuple):
    """A request that uses what was told of an attribute without asking for it, and a reply with ``{v}``."""

    attribute: str
    ask: str
    reply: str


class NeverTold(NamedTuple):
    """A personal question about something that no episode tells, and what is said to it."""

    ask: str
    unknown: str


@cache
def attribute_phrases() -> dict[str, AttributePhrases]:
    """Every attribute that people tell of, by its name."""
    told = json.loads(_text("ways.json"))
    return {
        name: AttributePhrases(one["kind"], *(tuple(one[part]) for part in AttributePhrases._fields[1:]))
        for name, one in told.items()
    }


@cache
def phrases_of(part: Part) -> dict[str, AttributePhrases]:
    """The attributes with the ways of telling and asking that are for this part, and for no other."""
    return {
        name: one._replace(tell=_kept(one.tell, part), ask=_kept(one.ask, part))
        for name, one in attribute_phrases().items()
    }


def _kept(phrases: tuple[str, ...], part: Part) -> tuple[str, ...]:
    return tuple(one for one in phrases if (one in _held_out()) == (part == "held-out"))


@cache
def _held_out() -> frozenset[str]:
    """Some ways of each attribute, so that none is without; what two of them share is held out for both."""
    found: set[str] = set()
    for one in attribute_phrases().values():
        for phrases in (one.tell, one.ask):
            found.update(_drawn(phrases))
    return frozenset(found)


def _drawn(phrases: Iterable[str]) -> list[str]:
    """The share of them that is held out."""
    drawn = sorted(phrases, key=lambda phrase: hashlib.sha256(phrase.encode()).digest())
    return drawn[: math.ceil(HELD_OUT_SHARE * len(drawn))]


@cache
def personal_requests() -> tuple[PersonalRequest, ...]:
    return tuple(PersonalRequest(**one) for one in json.loads(_text("personal_requests.json")))


@cache
def never_told(part: Part) -> tuple[NeverTold, ...]:
    """Those of this part, and of no other."""
    told = [NeverTold(**one) for one in json.loads(_text("never_told.json"))]
    kept = _drawn([one.ask for one in told])
    return tuple(one for one in told if (one.ask in kept) == (part == "held-out"))


@cache
def listed_values() -> dict[str, tuple[str, ...]]:
    """Values of kinds that ``values.py`` has no list of."""
    return {kind: tuple(values) for kind, values in json.loads(_text("values.json")).items()}


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of ``requests``, ``chatter``, ``fillers`` or ``replies``."""
    return tuple(line for line in _text(f"{name}.txt").splitlines() if line)


def _text(name: str) -> str:
    folder = files(cast("str", __package__)).joinpath(FOLDER)
    return folder.joinpath(name).read_text(encoding="utf-8")
