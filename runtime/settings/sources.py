"""The sources of settings: the command line, else variables, else a configuration file, else the default.

A variable that is set to the empty string counts as not set, and so does a key of the file. Values of a
file have types, so ``"8000"`` is no port there. What is not known in the file is refused; a variable that is
not known may be another program's, unless it looks like a misspelt one of ours.
"""

import difflib
import functools
import json
import logging
import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from populace.settings.errors import ConfigFileInvalid, SettingsError

logger = logging.getLogger(__name__)

PREFIX = "POPULACE_"
FILE_NAME = "populace.toml"
COMMAND_LINE = "command line"
SECRETS = frozenset({"api_key", "teacher_key"})
"""Settings whose value is never shown."""


class Gathered(NamedTuple):
    """The values that were found, as they were written; ``origins`` has where each is from.

    That is ``COMMAND_LINE``, the name of a variable, or the path of ``file``. ``exposed`` are the secrets in
    a file that others can read.
    """

    values: dict[str, object]
    origins: dict[str, str]
    file: Path | None
    exposed: tuple[str, ...]

    def named(self, field: str) -> str:
        """Return how to call the setting where its value is from; by its variable if it is from nowhere."""
        origin = self.origins.get(field, variable_of(field))
        if origin == COMMAND_LINE:
            return field
        return f"{field} in {origin}" if self.file is not None and origin == str(self.file) else origin


def variable_of(field: str) -> str:
    """Return the name of a setting's environment variable."""
    return PREFIX + field.upper()


def gather(
    fields: Mapping[str, FieldInfo], overrides: Mapping[str, object], *, default_directory: Path
) -> Gathered:
    """Find the values of the fields; an override that is None does not count.

    The file is that of ``config_file``, or ``populace.toml`` in the directory ``config``, which is
    ``default_directory`` unless it is named. Raises ``SettingsError`` and ``ConfigFileInvalid``.
    """
    _refuse_misspelt(os.environ, fields)
    given = {name: value for name, value in overrides.items() if value is not None}
    variables = {name: value for name in fields if (value := os.environ.get(variable_of(name)))}
    file = _file(given, variables, default_directory)
    written = {} if file is None else _read(file, fields)
    exposed = () if file is None else _exposed(file, written)
    return Gathered(
        {**written, **variables, **given},
        {
            **dict.fromkeys(written, str(file)),
            **{name: variable_of(name) for name in variables},
            **dict.fromkeys(given, COMMAND_LINE),
        },
        file,
        exposed,
    )


def unknown_variables(fields: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
    """Return the variables that are named like settings and are none, each with the nearest one, if any.

    They may be another program's, so ``gather`` leaves them alone.
    """
    names = {variable_of(name).removeprefix(PREFIX): variable_of(name) for name in fields}
    unknown = [name for name in sorted(os.environ) if name.startswith(PREFIX)]
    nearest = {
        variable: difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
        for variable in unknown
        if variable.removeprefix(PREFIX) not in names
    }
    return tuple((variable, names[found[0]] if found else None) for variable, found in nearest.items())


def allowed_by(error: ErrorDetails) -> str:
    """Return what pydantic says is allowed."""
    return error["msg"].removeprefix("Value error, ").rstrip(".")


def _file(given: Mapping[str, object], variables: Mapping[str, object], default: Path) -> Path | None:
    found = {**variables, **given}
    if (named := found.get("config_file")) is not None:
        return _absolute("config_file", named)
    path = _absolute("config", found.get("config", default)) / FILE_NAME
    try:
        path.stat()
    except OSError:
        # There is none, or the directory is another user's.
        return None
    return path


def _absolute(name: str, value: object) -> Path:
    try:
        return absolute(Path(str(value)))
    except ValueError as error:
        raise SettingsError(variable_of(name), str(value), str(error)) from error


def absolute(path: Path) -> Path:
    """Return the absolute path, with the user's home for ``~``. Raises ``ValueError`` for what names none."""
    if "\0" in str(path):
        raise ValueError("it has a null byte, and no path has one")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("there is no such user, whose home ~ stands for") from error


def _read(path: Path, fields: Mapping[str, FieldInfo]) -> dict[str, object]:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            # Reading a pipe or a device may never end.
            raise ConfigFileInvalid(str(path), "it is not a file")
        # Editors of Windows begin a file with a mark.
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigFileInvalid(str(path), _lower(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigFileInvalid(str(path), f"it is not in UTF-8 (at byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigFileInvalid(str(path), f"it is no TOML: {error}") from error
    except RecursionError as error:
        raise ConfigFileInvalid(str(path), "its values are nested too deeply") from error
    for key, value in document.items():
        _check(path, key, value, fields)
    return {key: value for key, value in document.items() if value != ""}


def _check(path: Path, key: str, value: object, fields: Mapping[str, FieldInfo]) -> None:
    if key == "config_file":
        raise ConfigFileInvalid(
            str(path), "config_file in it names a file, and one file does not read another"
        )
    if key not in fields:
        like = key.lower().replace("-", "_").removeprefix(PREFIX.lower())
        nearest = difflib.get_close_matches(like, fields, n=1)
        meant = f", did you mean {nearest[0]}" if nearest else "; `populace config` lists all"
        tables = ". Settings stand at the top of the file, in no table" if isinstance(value, dict) else ""
        raise ConfigFileInvalid(str(path), f"{key} is no setting{meant}{tables}")
    if value == "":
        return
    kind: Any = fields[key].annotation
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        # Strict JSON takes a string for a path, and 1 for no truth. It has no dates, and no setting is one.
        adapter.validate_json(json.dumps(value, default=lambda _: {}), strict=True)
    except ValidationError as error:
        shown = "(not shown)" if key in SECRETS else str(value)
        allowed = allowed_by(error.errors(include_url=False)[0])
        raise SettingsError(f"{key} in {path}", shown, allowed) from None


def _exposed(path: Path, written: Mapping[str, object]) -> tuple[str, ...]:
    secrets = tuple(sorted(SECRETS.intersection(written)))
    if not secrets or not path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return ()
    _warn_of(path, secrets)
    return secrets


@functools.cache
def _warn_of(path: Path, secrets: tuple[str, ...]) -> None:
    logger.warning("%s has %s and can be read by others: chmod 600 %s", path, ", ".join(secrets), path)


def _lower(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _refuse_misspelt(environment: Mapping[str, str], fields: Iterable[str]) -> None:
    known = [variable_of(name) for name in fields]
    for variable, meant in _near_misses(environment, known):
        hint = f"there is no such setting, did you mean {meant}"
        # A key under a wrong name is still a key.
        is_secret = meant in map(variable_of, SECRETS)
        raise SettingsError(variable, "(not shown)" if is_secret else environment[variable], hint)


def _near_misses(environment: Mapping[str, str], known: list[str]) -> Iterator[tuple[str, str]]:
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in known:
            continue
        # 0.85 catches one wrong, missing or swapped letter and leaves other tools' variables alone.
        for meant in difflib.get_close_matches(variable, known, n=1, cutoff=0.85):
            yield variable, meant
