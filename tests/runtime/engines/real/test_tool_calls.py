"""Calls of tools that are made by a grammar, by a base that never learned of tools."""

import json
from typing import Any

import pytest
from jsonschema import validate

from populace.actors.engine import GenerateRequest, Message, OwnedEngine, Sampling, joined
from populace.actors.tool_calls import calls_in
from populace.actors.tool_choice import Tool, ToolUse
from populace.gateway.completions.call_reader import CallReader

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "at": {"$ref": "#/$defs/Time"},
    },
    "required": ["city", "at"],
    "$defs": {"Time": {"enum": ["today", "tomorrow"]}},
}
COUNT: dict[str, Any] = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["number"],
}
TOOLS = {"weather": PLACE, "count": COUNT}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("most", [1, 3])
async def test_a_reply_that_has_to_call_calls_what_there_is_with_arguments_of_its_schema(
    engine: OwnedEngine, temperature: float, most: int
) -> None:
    uses = ToolUse(tuple(Tool(name, "", parameters) for name, parameters in TOOLS.items()), most)
    prompt = uses.told((Message("user", "What is the weather in Paris?"),))
    sampling = Sampling(max_tokens=200, temperature=temperature, seed=1, response_schema=uses.schema())
    reader = CallReader()

    deltas = [delta async for delta in engine.generate(GenerateRequest("one", prompt, sampling))]
    for delta in deltas:
        reader.read(delta.text)

    reply = joined(deltas)
    _, calls = calls_in(reply.text)
    assert reply.finish_reason == "stop"
    assert reader.is_complete
    assert 1 <= len(calls) <= most
    for call in calls:
        validate(json.loads(call.arguments), TOOLS[call.name])


async def test_a_reply_that_is_cut_is_no_complete_call(engine: OwnedEngine) -> None:
    uses, reader = ToolUse((Tool("count", "", COUNT),)), CallReader()
    prompt = (Message("user", "Count."),)
    sampling = Sampling(max_tokens=6, temperature=0.0, response_schema=uses.schema())

    reply = joined([part async for part in engine.generate(GenerateRequest("one", prompt, sampling))])
    reader.read(reply.text)

    assert (reply.finish_reason, reader.is_complete) == ("length", False)


async def test_a_named_tool_is_the_one_that_is_called(engine: OwnedEngine) -> None:
    uses = ToolUse((Tool("count", "", COUNT),))
    prompt = uses.told((Message("user", "What is the weather in Paris?"),))
    sampling = Sampling(max_tokens=64, temperature=0.0, response_schema=uses.schema())

    reply = joined([part async for part in engine.generate(GenerateRequest("one", prompt, sampling))])

    assert [call.name for call in calls_in(reply.text)[1]] == ["count"]
