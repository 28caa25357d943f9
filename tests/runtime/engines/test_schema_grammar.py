"""Which schemas a reply can be held to."""

import json
from typing import Any

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import PROPERTIES_MAX, REPEATS_MAX, schema_text
from populace.engines.schema_grammar import OPTIONS, check_schema, guided_schema

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
    await check_schema(schema_text(schema))


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
        await check_schema(schema_text(schema))

    assert raised.value.parameter == "response_format"


def test_a_caller_cannot_choose_the_options_of_the_grammar() -> None:
    guided = json.loads(guided_schema(schema_text({"x-guidance": {"lenient": True}})))

    assert guided["x-guidance"] == OPTIONS
