"""Tools in Python: the same requests and turns in the cluster and over HTTP."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.turn import ModelId
from populace.client.async_model import AsyncModel
from populace.client.async_population import AsyncPopulation
from populace.client.chat_request import chat_request
from populace.client.http_connection import HttpConnection
from populace.client.options import ChatOptions
from tests.runtime.gateway.population import Population, chat_body

ADA = ModelId("acme", "ada")
URL = "http://populace"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}},
}
FORCED: ChatOptions = {"tools": [WEATHER], "tool_choice": "required"}
ASK: dict[str, Any] = {"role": "user", "content": "weather?"}
REPLY = '[{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "weather", "arguments": {}}]'


@pytest.fixture
async def served(tmp_path: Path) -> AsyncGenerator[Population]:
    population = await Population.start(tmp_path)
    population.engine.reply = (REPLY,)
    yield population
    population.close()


@pytest.fixture
async def ada(served: Population) -> AsyncGenerator[AsyncModel]:
    transport = httpx.ASGITransport(served.app)
    connection = await HttpConnection.open(URL, served.keys["acme"], transport=transport)
    async with AsyncPopulation(connection) as population:
        yield await population.create("ada")


async def test_calls_are_made_and_their_results_answered(served: Population, ada: AsyncModel) -> None:
    turn = await ada.chat([ASK], **FORCED)

    first, second = turn.tool_calls
    assert [(call.name, call.arguments) for call in turn.tool_calls] == [
        ("weather", '{"city": "Paris"}'),
        ("weather", "{}"),
    ]
    told = [
        {"role": "tool", "tool_call_id": call.id, "content": content}
        for call, content in ((second, "rain"), (first, "sun"))
    ]
    served.engine.reply = ("Sun and rain.",)
    answer = await ada.chat([ASK, turn.message, *told])

    assert answer.tool_calls == ()
    assert answer.message == {"role": "assistant", "content": "Sun and rain."}
    asked: Any = served.engine.requests[-1].prompt
    assert [tuple(message) for message in asked] == [
        ("user", "weather?"),
        ("assistant", REPLY),
        ("tool", "sun"),
        ("tool", "rain"),
    ]
    assert (await served.log("ada"))[-1].messages == asked


async def test_a_call_has_the_same_id_over_http(served: Population, ada: AsyncModel) -> None:
    turn = await ada.chat([ASK], operation="k", tools=[WEATHER], tool_choice="required")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(served.app), base_url=URL) as client:
        reply = await client.post(
            "/v1/chat/completions",
            json=chat_body(messages=[ASK], max_tokens=256, tools=[WEATHER], tool_choice="required"),
            headers={"Authorization": f"Bearer {served.keys['acme']}", "Idempotency-Key": "k"},
        )

    assert reply.json()["populace"]["replayed"] is True
    calls = reply.json()["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in calls] == [call.id for call in turn.tool_calls]


async def test_the_request_that_arrives_over_http_is_the_one_that_was_made(
    served: Population, ada: AsyncModel
) -> None:
    messages = [{"role": "system", "content": "Be kind."}, ASK]

    await ada.chat(messages, **FORCED)

    made = chat_request(ADA, messages, **FORCED)
    [arrived] = served.engine.requests
    assert arrived.prompt == made.messages
    assert arrived.sampling.response_schema == made.sampling.response_schema


async def test_the_next_turn_reads_no_tools_over_http_as_in_the_cluster(
    served: Population, ada: AsyncModel
) -> None:
    once: ChatOptions = {**FORCED, "operation": "k"}
    bob = (await served.directory.create_model(ModelId("acme", "bob"))).model
    turns = {
        ADA: [await ada.chat("weather?", **once), await ada.chat("Thanks.")],
        bob: [
            await served.directory.chat(chat_request(bob, "weather?", **once)),
            await served.directory.chat(chat_request(bob, "Thanks.")),
        ],
    }

    prompts = [request.prompt for request in served.engine.requests]
    assert prompts[:2] == prompts[2:]
    assert [tuple(said) for said in prompts[1] if isinstance(said, Message)] == [
        ("user", "weather?"),
        ("assistant", REPLY),
        ("user", "Thanks."),
    ]
    for model, made in turns.items():
        logged = await served.log(model.name)
        assert [(turn.messages, turn.instructions) for turn in made] == [
            (turn.messages, turn.instructions) for turn in logged
        ]
        assert made[0].messages[made[0].instructions :] == (Message("user", "weather?"),)
        assert (await served.directory.chat(chat_request(model, "weather?", **once))).replayed


@pytest.mark.parametrize(
    ("messages", "options", "parameter"),
    [
        ([ASK], {"tools": [WEATHER]}, "tool_choice"),
        ([ASK], {"tools": [WEATHER], "tool_choice": "auto"}, "tool_choice"),
        ([ASK], {"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
        ([ASK], {"tools": "weather"}, "tools"),
        ([ASK], {"tools": [{"type": "function", "function": {"name": "é"}}]}, "tools[0].function.name"),
        ([ASK], {**FORCED, "parallel_tool_calls": 3}, "parallel_tool_calls"),
        ([ASK, {"role": "tool", "content": "sunny"}], {}, "messages[1].tool_call_id"),
        ([ASK, {"role": "tool", "content": "sunny", "tool_call_id": "x"}], {}, "messages[1].tool_call_id"),
        ([ASK, {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}], {}, None),
        ([{**ASK, "tool_call_id": "x"}], {}, "messages"),
    ],
)
def test_what_cannot_be_called_is_refused_by_name(
    messages: list[dict[str, Any]], options: Any, parameter: str | None
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        chat_request(ADA, messages, **options)

    assert raised.value.parameter == (parameter or "messages.tool_calls[0].function")


def test_a_message_that_tells_of_tools_is_for_its_turn_unless_it_is_the_callers_own() -> None:
    own = {"role": "system", "content": "Be kind."}

    assert chat_request(ADA, "weather?", **FORCED).instructions == 1
    assert chat_request(ADA, [own, ASK], **FORCED).instructions == 0
    assert chat_request(ADA, "weather?").instructions == 0
