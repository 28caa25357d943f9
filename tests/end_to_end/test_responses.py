"""The official client talks to a person through OpenAI's Responses API, on a real Populace."""

import json
import uuid
from typing import Any

import pytest
from jsonschema import validate
from openai import NotFoundError

from tests.end_to_end.served import Served
from tests.end_to_end.test_tools import FUNCTION, PARAMETERS

pytestmark = [pytest.mark.engine, pytest.mark.ray]


@pytest.fixture
def ada(served: Served) -> str:
    return served.create(f"ada-{uuid.uuid4().hex[:8]}")


def test_a_response_is_streamed_followed_read_again_and_deleted(served: Served, ada: str) -> None:
    client = served.openai()

    with client.responses.stream(model=ada, input="My dog is called Bruno.", max_output_tokens=12) as stream:
        kinds = [event.type for event in stream]
    first = client.responses.retrieve(_id_of(served, ada, 0))
    second = client.responses.create(
        model=ada, input="What is he called?", previous_response_id=first.id, max_output_tokens=12
    )
    client.responses.create(
        model=ada, input="And the cat?", previous_response_id=first.id, instructions="Be brief.", store=False
    )
    client.responses.delete(first.id)

    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert second.previous_response_id == first.id
    assert [turn["forgotten"] for turn in served.log_of(ada)] == [True, False, False]
    with pytest.raises(NotFoundError):
        client.responses.retrieve(first.id)
    assert client.responses.retrieve(second.id).output_text == second.output_text


def test_a_conversation_has_the_turns_that_were_said_in_it(served: Served, ada: str) -> None:
    client = served.openai()
    talk = client.conversations.create(metadata={"model": ada, "topic": "dogs"})

    for text in ("My dog is called Bruno.", "What is he called?"):
        client.responses.create(model=ada, input=text, conversation=talk.id, max_output_tokens=8)
    items = client.conversations.items.list(talk.id, order="asc").data

    assert [item.type for item in items] == ["message"] * 4
    assert client.conversations.retrieve(talk.id).metadata == talk.metadata
    assert client.conversations.delete(talk.id).deleted


def test_a_function_is_called_and_its_result_alone_is_answered(served: Served, ada: str) -> None:
    client = served.openai()
    tools: Any = [{"type": "function", **FUNCTION}]

    with client.responses.stream(
        model=ada,
        input="What is the weather in Paris?",
        tools=tools,
        tool_choice="required",
        parallel_tool_calls=False,
        max_output_tokens=100,
    ) as stream:
        called: Any = stream.get_final_response()
    [call] = called.output
    validate(json.loads(call.arguments), PARAMETERS)
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "It is sunny."}
    answer = client.responses.create(
        model=ada,
        input=[result],
        previous_response_id=called.id,
        tools=tools,
        tool_choice="none",
        max_output_tokens=12,
    )

    [again] = client.responses.retrieve(called.id).output
    assert again.model_dump()["arguments"] == call.arguments
    first, second = served.log_of(ada)
    assert json.loads(first["reply"])[0]["arguments"] == json.loads(call.arguments)
    assert [(said["role"], said["content"]) for said in second["messages"]] == [("tool", "It is sunny.")]
    assert second["reply"] == answer.output_text


def _id_of(served: Served, model: str, position: int) -> str:
    turn = served.log_of(model)[position]
    return f"resp_{model}_{position:x}_{turn['completion_id'][-16:]}"
