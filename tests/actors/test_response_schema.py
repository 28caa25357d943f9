"""From what a caller gives to the text of a schema, within bounds."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import (
    ANY_OBJECT,
    DEPTH_MAX,
    LENGTH_MAX,
    PROPERTIES_MAX,
    REPEATS_MAX,
    SCHEMA_BYTES_MAX,
    schema_of,
    schema_text,
)

SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}


class Person(BaseModel):
    name: str
    age: int


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


def test_a_schema_keeps_the_order_of_its_properties() -> None:
    assert list(json.loads(schema_text(SCHEMA))["properties"]) == ["z", "a"]


def test_a_class_a_schema_and_openais_format_mean_the_same() -> None:
    schema = Person.model_json_schema()

    texts = {
        schema_of(given)
        for given in (
            Person,
            schema,
            {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
        )
    }

    assert texts == {schema_text(schema)}


def test_text_has_no_schema_and_json_object_any_object() -> None:
    assert [schema_of(None), schema_of({"type": "text"})] == [None, None]
    assert schema_of({"type": "json_object"}) == ANY_OBJECT


@pytest.mark.parametrize(
    "schema",
    [
        _nested(DEPTH_MAX),
        {"properties": dict.fromkeys(map(str, range(PROPERTIES_MAX)), True)},
        {"items": {"maxItems": REPEATS_MAX // 2}, "maxItems": REPEATS_MAX // 2},
        {"maxLength": LENGTH_MAX},
        {"description": "x" * (SCHEMA_BYTES_MAX - 100)},
    ],
)
def test_what_is_just_in_bounds_is_taken(schema: dict[str, Any]) -> None:
    assert json.loads(schema_text(schema)) == schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (_nested(DEPTH_MAX + 1), "deeper"),
        (_nested(200_000), "deeper"),
        ({"anyOf": [{"properties": {"a": True}}] * (PROPERTIES_MAX + 1)}, "properties"),
        ({"items": {"maxItems": REPEATS_MAX}, "minItems": 1}, "items"),
        ({"maxItems": float("inf")}, "items"),
        ({"maxItems": 1e308}, "items"),
        ({"maxLength": LENGTH_MAX + 1}, "maxLength"),
        ({"description": "x" * SCHEMA_BYTES_MAX}, "bytes"),
        ({"enum": [0] * SCHEMA_BYTES_MAX}, "bytes"),
        ({"default": float("nan")}, "JSON"),
        ({"default": object()}, "JSON"),
        ({"default": "\ud800"}, "JSON"),
        (True, "object"),
        ([], "object"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(schema: object, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as raised:
        schema_text(schema)

    assert raised.value.parameter == "response_format"


@pytest.mark.parametrize("given", [3, "json", int, [SCHEMA], {"type": "json_schema"}])
def test_what_is_no_format_is_refused_by_name(given: object) -> None:
    with pytest.raises(InvalidRequest) as raised:
        schema_of(given)

    assert raised.value.parameter == "response_format"
