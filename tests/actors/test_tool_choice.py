"""Which tools a reply has to call, and what the model is told of them."""

import json
from typing import Any

import pytest

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import SCHEMA_BYTES_MAX
from populace.actors.tool_choice import CALLS_MAX, PARALLEL, TOOLS_MAX, Tool, ToolUse, tool_use

CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER, NEWS = Tool("weather", "Tells the weather.", CITY), Tool("news", "", {"type": "object"})
TOOLS = [WEATHER, NEWS]


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        ("none", None, ToolUse()),
        ("required", None, ToolUse((WEATHER, NEWS), CALLS_MAX)),
        ("required", True, ToolUse((WEATHER, NEWS), CALLS_MAX)),
        ("required", False, ToolUse((WEATHER, NEWS), 1)),
        (":news", None, ToolUse((NEWS,), 1)),
        (":news", False, ToolUse((NEWS,), 1)),
        (":news", True, ToolUse((NEWS,), CALLS_MAX)),
    ],
)
def test_a_choice_decides_what_is_called_and_how_often(
    choice: str, parallel: bool | None, expected: ToolUse
) -> None:
    assert tool_use(TOOLS, choice, parallel=parallel, auto="refuse") == expected


@pytest.mark.parametrize("choice", [None, "auto"])
def test_a_choice_that_is_left_to_the_model_is_what_the_setting_says(choice: str | None) -> None:
    with pytest.raises(InvalidRequest, match="required") as raised:
        tool_use(TOOLS, choice, parallel=None, auto="refuse")

    assert raised.value.parameter == "tool_choice"
    assert tool_use(TOOLS, choice, parallel=None, auto="none") == ToolUse()
    assert tool_use([], choice, parallel=None, auto="refuse") == ToolUse()


@pytest.mark.parametrize(
    ("tools", "choice", "parameter"),
    [
        ([], "required", "tool_choice"),
        ([], ":news", "tool_choice"),
        (TOOLS, ":required", "tool_choice"),
        ([WEATHER, WEATHER], "none", "tools"),
        ([NEWS._replace(name=f"n{number}") for number in range(TOOLS_MAX + 1)], "none", "tools"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(tools: list[Tool], choice: str, parameter: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        tool_use(tools, choice, parallel=None, auto="none")

    assert raised.value.parameter == parameter


def test_tools_are_told_once_and_in_the_system_message() -> None:
    asked = Message("user", "weather?")

    alone = ToolUse((WEATHER,)).told((asked,))
    beside = ToolUse((WEATHER,)).told((Message("system", "Be kind."), asked))

    assert [message.role for message in alone] == [message.role for message in beside] == ["system", "user"]
    assert beside[0].content == f"Be kind.\n\n{alone[0].content}"
    assert '"city"' in alone[0].content
    assert '[{"name": "name", "arguments": {…}}]' in alone[0].content
    assert ToolUse((WEATHER,)).told(beside) == beside
    assert ToolUse().told((asked,)) == (asked,)


def test_references_lead_to_where_a_tools_schema_is_now() -> None:
    tree = {
        "properties": {"root": {"$ref": "#/$defs/Node"}, "self": {"$ref": "#"}},
        "$defs": {"Node": {"type": "object"}},
    }

    made = json.loads(str(ToolUse((Tool("plant", "", tree),)).schema()))

    moved = made["$defs"]["plant"]
    assert moved["properties"]["root"] == {"$ref": "#/$defs/plant/$defs/Node"}
    assert moved["properties"]["self"] == {"$ref": "#/$defs/plant"}


def test_arguments_have_no_properties_that_the_tool_does_not_name_unless_it_says_so() -> None:
    open_ones = {**CITY, "additionalProperties": True}

    made = json.loads(str(ToolUse((WEATHER, NEWS, Tool("map", "", open_ones))).schema()))["$defs"]

    assert made["weather"]["additionalProperties"] is False
    assert made["news"] == {"type": "object"}
    assert made["map"]["additionalProperties"] is True


def test_objects_within_arguments_are_closed_as_the_arguments_are() -> None:
    street = {"type": "object", "properties": {"street": {"type": "string"}}}
    inner = {"properties": {"home": street, "others": {"type": "array", "items": street}, "any": {}}}
    chosen: dict[str, Any] = {"properties": {"a": {"anyOf": [{"type": "string"}], "properties": {}}}}

    made = json.loads(str(ToolUse((Tool("move", "", inner), Tool("or", "", chosen))).schema()))["$defs"]

    properties = made["move"]["properties"]
    assert properties["home"]["additionalProperties"] is False
    assert properties["others"]["items"]["additionalProperties"] is False
    assert properties["any"] == {}
    assert "additionalProperties" not in made["or"]["properties"]["a"]


@pytest.mark.parametrize(("parallel", "told"), [(None, {}), (True, {}), (False, {PARALLEL: False})])
def test_a_template_is_told_that_a_reply_may_call_only_once(
    parallel: bool | None, told: dict[str, Any]
) -> None:
    template = tool_use(TOOLS, "auto", parallel=parallel, auto="may").template

    assert [tool["function"]["name"] for tool in template.pop("tools")] == ["weather", "news"]
    assert template == told


def nested(levels: int) -> dict[str, Any]:
    return {"properties": {"a": nested(levels - 1)}} if levels else {}


@pytest.mark.parametrize(
    "tools",
    [
        [Tool("deep", "", nested(30))],
        [Tool("torn", "", {"description": "\ud800"})],
        [Tool("long", "", {"properties": {"a": {"type": "array", "maxItems": 10**9}}})],
        [Tool(f"large-{n}", "", {"description": "x" * (SCHEMA_BYTES_MAX // 2)}) for n in range(3)],
    ],
)
@pytest.mark.parametrize("choice", ["required", "auto"])
def test_tools_whose_schemas_are_out_of_bounds_are_refused(tools: list[Tool], choice: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        tool_use(tools, choice, parallel=None, auto="may")

    assert raised.value.parameter == "tools"
