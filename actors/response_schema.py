"""The JSON schema or pattern that a reply has to satisfy: from what a caller gives to a text, within bounds.

An engine makes a grammar of the schema, which lets the model choose only tokens that keep the reply valid. A
grammar grows with the schema, and a small schema can ask for a large one, so its size is bounded here, before
a request waits for anything. Whether the grammar library knows each keyword is checked in
``runtime/engines/schema_grammar.py``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from populace.actors.errors import InvalidRequest

PARAMETER = "response_format"
ANY_OBJECT = '{"type": "object"}'

SCHEMA_BYTES_MAX = 64 * 1024
DEPTH_MAX = 48
"""Nested objects and arrays of the schema's own text; vLLM refuses more than 64."""
PROPERTIES_MAX = 256
"""Named properties in the whole schema: at 512 optional ones of one object the library gave up."""
REPEATS_MAX = 2048
"""Sum of all bounds on item counts: a grammar has a rule for each possible item, 10,000 took 2 s."""
LENGTH_MAX = 65536
"""Largest bound on a string's length, and on the repetitions in a pattern."""

REPEAT_KEYWORDS = frozenset({"minItems", "maxItems", "minContains", "maxContains"})
LENGTH_KEYWORDS = frozenset({"minLength", "maxLength", "minProperties", "maxProperties"})
PATTERN_CHARACTERS_MAX = 4096
CHOICES_MAX = 256
CHOICES_CHARACTERS_MAX = 16 * 1024
"""The limit of all choices together."""

_PATTERN_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|.", re.DOTALL)
_REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~]")
FORMAT_TYPES = frozenset({"text", "json_object", "json_schema"})
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def schema_of(response_format: object) -> str | None:
    """Return the schema's text of what a Python caller gives; None for free text.

    Takes a pydantic class, a JSON schema, a value of OpenAI's ``response_format``, or None. Raises
    ``InvalidRequest`` for everything else, and for a schema that is out of bounds.
    """
    if response_format is None:
        return None
    if isinstance(response_format, type) and issubclass(response_format, BaseModel):
        return schema_text(response_format.model_json_schema())
    if not isinstance(response_format, Mapping):
        raise InvalidRequest(
            f"{PARAMETER} is a pydantic class or a JSON schema, not {response_format!r:.80}.", PARAMETER
        )
    given = cast("Mapping[str, Any]", response_format)
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in FORMAT_TYPES:
        return schema_text(given)
    if kind == "json_schema":
        wrapper = given.get("json_schema")
        if not isinstance(wrapper, Mapping) or "schema" not in wrapper:
            raise InvalidRequest(f"{PARAMETER}.json_schema needs a `schema`.", PARAMETER)
        return schema_text(cast("Mapping[str, Any]", wrapper)["schema"])
    return ANY_OBJECT if kind == "json_object" else None


def schema_text(schema: object, parameter: str = PARAMETER) -> str:
    """Write a schema as JSON text; the order of its properties is kept, as a reply follows it.

    Raises ``InvalidRequest`` that names ``parameter`` if it is no JSON object or out of bounds.
    """
    if not isinstance(schema, Mapping):
        raise InvalidRequest(f"The schema must be a JSON object, not {schema!r:.80}.", parameter)
    # The depth is checked first, without recursion: writing a deep value would exhaust the stack.
    _check_bounds(cast("Mapping[str, Any]", schema), parameter)
    try:
        text = json.dumps(schema, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"The schema is not valid JSON: {error}.", parameter) from None
    if size > SCHEMA_BYTES_MAX:
        raise InvalidRequest(f"The schema has {size} bytes, more than {SCHEMA_BYTES_MAX}.", parameter)
    return text


def pattern_text(pattern: str, parameter: str) -> str:
    """Return a regular expression that a reply has to match.

    Raises ``InvalidRequest`` if it is long, or repeats something too often.
    """
    if len(pattern) > PATTERN_CHARACTERS_MAX:
        raise InvalidRequest(
            f"The pattern has {len(pattern)} characters, more than {PATTERN_CHARACTERS_MAX}.", parameter
        )
    if _written_out(pattern) > LENGTH_MAX:
        raise InvalidRequest(f"The pattern repeats more than {LENGTH_MAX} characters.", parameter)
    return _without_nul(pattern)


def _written_out(pattern: str) -> int:
    """Count the characters that a pattern describes with its bounded repetitions written out."""
    outer: list[int] = []
    whole = last = 0
    for part in _PATTERN_PART.findall(pattern):
        if part == "(":
            outer.append(whole)
            whole = last = 0
        elif part == ")" and outer:
            last = whole
            whole += outer.pop()
        elif repeated := _REPEATED.fullmatch(part):
            most = max(int(number[:9] or 0) for number in repeated.groups(""))
            whole += last * (most - 1)
            last *= most
        else:
            last = 1
            whole += 1
    return whole + sum(outer)


def _without_nul(pattern: str) -> str:
    return pattern.replace("\0", r"\x00")


def pattern_of_choices(choices: Sequence[str], parameter: str) -> str:
    """Return the pattern that these texts match and no others. Raises ``InvalidRequest`` for too many."""
    characters = sum(map(len, choices))
    if len(choices) > CHOICES_MAX or characters > CHOICES_CHARACTERS_MAX:
        raise InvalidRequest(
            f"The choices are {len(choices)}, of {characters} characters: there may be {CHOICES_MAX}, "
            f"of {CHOICES_CHARACTERS_MAX} together.",
            parameter,
        )
    return _without_nul("|".join(_SPECIAL.sub(r"\\\g<0>", choice) for choice in choices))


def _check_bounds(schema: Mapping[str, Any], parameter: str) -> None:
    properties, repeats, nodes = 0, 0, 0
    pending: list[tuple[object, int]] = [(schema, 1)]
    while pending:
        value, depth = pending.pop()
        nodes += 1
        if depth > DEPTH_MAX:
            raise InvalidRequest(f"The schema is nested deeper than {DEPTH_MAX} levels.", parameter)
        # Each entry has two bytes at least, so what has more of them is too large as well.
        if nodes > SCHEMA_BYTES_MAX:
            raise InvalidRequest(f"The schema has more than {SCHEMA_BYTES_MAX} bytes.", parameter)
        if isinstance(value, Mapping):
            for keyword, entry in cast("Mapping[str, object]", value).items():
                pending.append((entry, depth + 1))
                if keyword == "properties" and isinstance(entry, Mapping):
                    properties += len(cast("Mapping[str, object]", entry))
                elif keyword in REPEAT_KEYWORDS and isinstance(entry, int | float):
                    repeats += int(min(max(entry, 0), REPEATS_MAX + 1))
                elif keyword in LENGTH_KEYWORDS and isinstance(entry, int | float) and entry > LENGTH_MAX:
                    raise InvalidRequest(f"{keyword} {entry} of the schema is over {LENGTH_MAX}.", parameter)
        elif isinstance(value, list | tuple):
            pending.extend((entry, depth + 1) for entry in cast("Sequence[object]", value))
    if properties > PROPERTIES_MAX:
        raise InvalidRequest(
            f"The schema names {properties} properties, more than {PROPERTIES_MAX}.", parameter
        )
    if repeats > REPEATS_MAX:
        raise InvalidRequest(
            f"The bounds of the schema's arrays add up to more than {REPEATS_MAX} items.", parameter
        )
