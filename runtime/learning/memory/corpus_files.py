"""The phrases that episodes are made of, as people write them: files beside this one, under ``corpus/``."""

import json
from functools import cache
from importlib.resources import files
from typing import NamedTuple, cast

FOLDER = "corpus"

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


@cache
def attribute_phrases() -> dict[str, AttributePhrases]:
    """Every attribute that people tell of, by its name."""
    told = json.loads(_text("ways.json"))
    return {
        name: AttributePhrases(one["kind"], *(tuple(one[part]) for part in AttributePhrases._fields[1:]))
        for name, one in told.items()
    }


@cache
def personal_requests() -> tuple[PersonalRequest, ...]:
    return tuple(PersonalRequest(**one) for one in json.loads(_text("personal_requests.json")))


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of ``requests``, ``chatter``, ``fillers`` or ``replies``."""
    return tuple(line for line in _text(f"{name}.txt").splitlines() if line)


def _text(name: str) -> str:
    folder = files(cast("str", __package__)).joinpath(FOLDER)
    return folder.joinpath(name).read_text(encoding="utf-8")
