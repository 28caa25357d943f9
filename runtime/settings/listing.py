"""Lists the settings for a person: each with its value, its source and its description."""

import ast
import functools
import inspect
import json
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from populace.settings.settings import Settings
from populace.settings.sources import SECRETS, Gathered

DEFAULT = "default"
WIDTH = 100

HEAD = """\
Settings of Populace, with their defaults: take the # away from what you change. A key that is left out,
or "", has its default, which some texts call None. POPULACE_ and the name in capitals is the variable of
a setting; variables and the options of the command line win over this file. Relative paths are those of
where a command runs.
"""


class Listed(NamedTuple):
    """A setting: its value as it is shown, where that is from, and what the setting is."""

    name: str
    value: str
    origin: str
    text: str


def listed(settings: Settings, found: Gathered) -> tuple[Listed, ...]:
    """List all settings in their order. The value of a secret is left out."""
    return tuple(
        Listed(name, _shown(name, getattr(settings, name)), found.origins.get(name, DEFAULT), text)
        for name, text in descriptions().items()
    )


def example() -> str:
    """Return a configuration file in which every setting is commented out, with its default here."""
    parts, defaults = [_comment(HEAD)], Settings()
    for name, text in descriptions().items():
        if name == "config_file":
            continue
        of_machine = "" if Settings.model_fields[name].default_factory is None else "  # on this machine"
        parts.append(f"{_comment(text)}# {name} = {_toml(getattr(defaults, name))}{of_machine}\n")
    return "\n".join(parts)


@functools.cache
def descriptions() -> Mapping[str, str]:
    """Return the text below each field of ``Settings``, in one line; they are read from its source.

    Its own fields come first, then those of the classes that it inherits.
    """
    parts = [part for part in Settings.__mro__ if issubclass(part, BaseModel) and part is not BaseModel]
    return {name: text for part in parts for name, text in _texts(part).items()}


def _texts(part: type[BaseModel]) -> Mapping[str, str]:
    (tree,) = ast.parse(inspect.getsource(part)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: " ".join(below.value.value.replace("``", "`").split())
        for field, below in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(below.value.value, str)
    }


def _shown(name: str, value: object) -> str:
    if value is None:
        return "none"
    return "(set, not shown)" if name in SECRETS else str(value)


def _comment(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n"


def _toml(value: object) -> str:
    if value is None:
        return '""'
    return json.dumps(str(value) if isinstance(value, Path) else value)
