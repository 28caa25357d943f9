"""Describes what is wrong with a request, in the caller's terms rather than pydantic's."""

from collections.abc import Mapping
from typing import Any

from populace.gateway.http.body import UNION_BRANCHES


def describe_problem(problem: Mapping[str, Any], content_type: str | None) -> tuple[str, str | None]:
    """Turn pydantic's problem into a sentence and the name of the parameter it is about."""
    where, *location = problem["loc"]
    kind, message = problem["type"], problem["msg"].removeprefix("Value error, ")
    parameter = _name_of(location)
    if kind == "json_invalid":
        detail = problem["ctx"]["error"]
        return f"The body is not valid JSON: {detail} (character {location[0]}).", None
    if not parameter:
        assert where == "body", "queries and paths are never wrong as a whole"
        return _describe_body_problem(kind, content_type), None
    if kind == "extra_forbidden":
        return f"Unknown parameter: `{parameter}`.", parameter
    if kind == "missing":
        return f"Missing required parameter: `{parameter}`.", parameter
    return f"Invalid value for `{parameter}`: {message}.", parameter


def _describe_body_problem(kind: str, content_type: str | None) -> str:
    if kind == "missing":
        return "The body is empty: send a JSON object."
    if kind == "string_unicode":
        return "The body has a parameter whose name is not valid Unicode: it holds a lone surrogate."
    if content_type is None or "json" not in content_type.lower():
        sent = "no Content-Type" if content_type is None else f"Content-Type {content_type}"
        return f"The body came with {sent}: send it with `Content-Type: application/json`."
    return "The body must be a JSON object."


def _name_of(location: list[str | int]) -> str:
    """Name a parameter as OpenAI does: ``messages[0].content``."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part not in UNION_BRANCHES:
            name += f".{part}" if name else part
    return name
