"""Which schemas a reply can be held to."""

import asyncio
import json
from typing import Any

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import PROPERTIES_MAX, REPEATS_MAX, pattern_of_choices, schema_text
from populace.engines.schema_grammar import OPTIONS, check_form, guided_schema
from tests.limits import HANG_SECONDS

RECURSIVE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        }
    },
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        RECURSIVE,
        {"oneOf": [{"const": "a"}, {"type": "object", "properties": {"kind": {"const": "b"}}}]},
        {"properties": {f"p{number}": {"type": "string"} for number in range(PROPERTIES_MAX)}},
        {"type": "array", "items": {"type": "integer"}, "maxItems": REPEATS_MAX},
        {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"},
    ],
)
async def test_a_schema_in_bounds_is_taken(schema: dict[str, Any]) -> None:
    await check_form(schema_text(schema))


ANY: dict[str, Any] = {}
TOO_LARGE = {"allOf": [{"anyOf": [{"properties": {f"{a}-{b}": ANY}} for a in range(10)]} for b in range(6)]}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "strin"}, "strin"),
        ({"type": "string", "format": "klingon"}, "klingon"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"$ref": "#"}, "no value"),
        ({"enum": []}, "Unsatisfiable"),
        ({"type": "string", "pattern": "^(?=a)b$"}, "look"),
        ({"type": "integer", "multipleOf": 999_999_937}, "fuel"),
        (TOO_LARGE, "large"),
    ],
)
async def test_a_schema_without_a_grammar_is_refused_with_the_reason(
    schema: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason) as raised:
        await check_form(schema_text(schema))

    assert raised.value.parameter == "response_format"


GROWING = (
    "((a{1,1000}){1,1000}){1,1000}",
    "(a|b)*a(a|b){30}",
    "(((a?){100}){100}){100}",
    r"(\w+\s?)*!",
    r"([\p{L}]{1,500}[\p{N}]{1,500}){1,500}",
    r"\w{1,4000}" * 100,
    "(.{0,50}[a-z].{0,50}){50}",
    ".*" * 1000,
)
"""Patterns of which a careless library would make more than a machine has room for."""


@pytest.mark.parametrize("pattern", [r"\d+", "ä|b", r"^\d+$", pattern_of_choices(["a.b", "[", "-^~#&"], "c")])
async def test_a_pattern_is_taken(pattern: str) -> None:
    await check_form(None, pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(a", "unclosed"), (r"(a)\1", "backreference"), ("a(?!b)", "look"), (r"[^\s\S]", "no value")],
)
async def test_a_pattern_without_a_grammar_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as raised:
        await check_form(None, pattern, "structured_outputs.regex")

    assert raised.value.parameter == "structured_outputs.regex"


@pytest.mark.parametrize("pattern", GROWING)
async def test_a_pattern_that_grows_is_checked_or_refused_while_others_are_served(pattern: str) -> None:
    checked = asyncio.create_task(check_form(None, pattern))
    turns = 0
    async with asyncio.timeout(HANG_SECONDS):
        while not checked.done():
            await asyncio.sleep(0)
            turns += 1

    assert turns > 1
    assert checked.exception() is None or isinstance(checked.exception(), InvalidRequest)


def test_a_caller_cannot_choose_the_options_of_the_grammar() -> None:
    guided = json.loads(guided_schema(schema_text({"x-guidance": {"lenient": True}})))

    assert guided["x-guidance"] == OPTIONS
