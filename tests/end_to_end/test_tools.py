"""A person's model calls a tool of its client's, and reads what it returned, with the official client."""

import json
import uuid
from typing import Any

import pytest
from jsonschema import validate

import populace
from tests.end_to_end.served import Served, ask

pytestmark = [pytest.mark.engine, pytest.mark.ray]

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "day": {"enum": ["today", "tomorrow"]}},
    "required": ["city", "day"],
}
FUNCTION: dict[str, Any] = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": PARAMETERS,
    # The client's stream helper takes no other tools.
    "strict": True,
}
WEATHER: dict[str, Any] = {"type": "function", "function": FUNCTION}
OPTIONS: dict[str, Any] = {"tools": [WEATHER], "max_tokens": 100}


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def test_a_call_is_streamed_and_its_result_answered_in_the_next_turn(served: Served, ada: str) -> None:
    client = served.openai()
    messages: list[Any] = list(ask("What is the weather in Paris?"))

    with client.chat.completions.stream(
        model=ada, messages=messages, tool_choice="required", parallel_tool_calls=False, **OPTIONS
    ) as stream:
        called: Any = stream.get_final_completion().choices[0]
    [call] = called.message.tool_calls
    validate(json.loads(call.function.arguments), PARAMETERS)
    messages += [called.message, {"role": "tool", "tool_call_id": call.id, "content": "It is sunny."}]
    parts = client.chat.completions.create(
        model=ada, messages=messages, tool_choice="none", stream=True, **OPTIONS
    )
    answer = "".join(part.choices[0].delta.content or "" for part in parts)

    assert called.finish_reason == "tool_calls"
    first, second = served.log_of(ada)
    assert json.loads(first["reply"])[0]["arguments"] == json.loads(call.function.arguments)
    assert [(said["role"], said["content"]) for said in second["messages"]] == [
        ("user", "What is the weather in Paris?"),
        ("assistant", first["reply"]),
        ("tool", "It is sunny."),
    ]
    assert second["reply"] == answer


def test_a_named_tool_is_called_from_python(served: Served, ada: str) -> None:
    named: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}
    with populace.connect(data=served.data) as population:
        turn = population.model(ada).chat("Is it sunny?", tools=[WEATHER], tool_choice=named, max_tokens=100)

    [call] = turn.tool_calls
    assert call.name == "weather"
    validate(json.loads(call.arguments), PARAMETERS)
