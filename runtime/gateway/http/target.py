"""Parses the ``model`` field of a request.

It is ``name``, ``name@alias``, ``name@base``, ``name@digest``, or ``base``; ``:peek`` after a name asks for a
reply that leaves no trace.
"""

from typing import NamedTuple

from populace.actors.api_keys import KeyHolder
from populace.actors.errors import InvalidName
from populace.actors.turn import ModelId
from populace.policies.foreign_models import is_foreign
from populace.storage.records.errors import ModelNotFound, RevisionNotFound
from populace.storage.records.keys import RESERVED_MODEL_NAMES, alias_problem, is_digest, name_problem

BASE_MODEL = "base"
POPULATION_MODEL = "population"

LATEST = "latest"
"""The alias that every model has; it names the base itself until a revision is published."""


PEEK_SUFFIX = ":peek"


class Target(NamedTuple):
    """A personal model and the alias to use; ``model`` None is the base itself.

    ``alias`` may be a digest, its beginning, or ``base`` too. ``peek``: the id asks to leave no trace.
    """

    model: ModelId | None
    alias: str
    peek: bool = False


def parse_target(caller: KeyHolder, text: str) -> Target:
    """Resolve a ``model`` field for a caller.

    A name that no model can have is reported as not found, as any other name without a model is. Raises
    ``ModelNotFound``, ``RevisionNotFound``, and ``ModelNotOfKey`` if the caller's key is for other models.
    """
    if text == BASE_MODEL:
        caller.check_model(BASE_MODEL)
        return Target(None, LATEST)
    peek = text.endswith(PEEK_SUFFIX)
    name, at, alias = text.removesuffix(PEEK_SUFFIX).partition("@")
    if name_problem(name, reserved=RESERVED_MODEL_NAMES) is not None:
        raise ModelNotFound(text[:128])
    caller.check_model(name)
    if at and alias_problem(alias) is not None and not is_digest(alias):
        raise RevisionNotFound(name, alias[:128])
    return Target(ModelId(caller.tenant, name), alias if at else LATEST, peek)


def impossible_name(name: str) -> str | None:
    """Say why no personal model can have this name; None if one can."""
    problem = name_problem(name, reserved=RESERVED_MODEL_NAMES)
    return None if problem is None else f"No personal model can have this name: {problem}."


def advice_on_missing(name: str) -> str:
    """Say in a sentence what to do about a personal model that is not there."""
    impossible = impossible_name(name)
    if impossible is not None:
        return impossible
    if is_foreign(name):
        return (
            "It is named like another maker's model, so no chat creates it: chat with one of "
            f"`GET /v1/models`, or create it with `populace model create {name}`."
        )
    return f"Create it with `populace model create {name}`, or POST /v1/personal-models."


def named_model(caller: KeyHolder, name: str) -> ModelId:
    """Resolve the name in a path; raises as ``parse_target`` for one that no model can have."""
    if name == BASE_MODEL:
        raise ModelNotFound(name)
    target = parse_target(caller, name)
    if target.model is None or "@" in name or target.peek:
        raise ModelNotFound(name[:128])
    return target.model


def new_model(caller: KeyHolder, name: str) -> ModelId:
    """Resolve the name of a model that may be created.

    Raises ``InvalidName`` for one that none can have, and ``ModelNotOfKey``.
    """
    problem = name_problem(name, reserved=RESERVED_MODEL_NAMES)
    if problem is not None:
        raise InvalidName(name, problem)
    caller.check_model(name)
    return ModelId(caller.tenant, name)


def check_alias(alias: str) -> None:
    """Raise ``InvalidName`` for an alias that no revision can have."""
    problem = "it names the base" if alias == BASE_MODEL else alias_problem(alias)
    if problem is not None:
        raise InvalidName(alias, problem)
