"""Calls of the client's functions in OpenAI's Responses API, with the official client."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response
from openai.types.responses.response_item_list import ResponseItemList

from populace.actors.engine import Message
from populace.api.responses import ResponseNote
from populace.gateway.responses.exchange import response_of
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import Population
from tests.runtime.gateway.test_responses import events_of, strict
from tests.runtime.gateway.test_tools import ARGUMENTS, REPLY, TEXT, WRITTEN

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
NEWS: dict[str, Any] = {"type": "function", "name": "news"}
NAMED: dict[str, Any] = {"type": "function", "name": "weather"}
CALLED: dict[str, Any] = {"type": "function_call", "call_id": "x", "name": "weather", "arguments": "{}"}


def output(call: str, text: str = "sunny") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call, "output": text}


@pytest.fixture
async def ada(population: Population, url: str) -> AsyncGenerator[AsyncOpenAI, None]:
    population.engine.reply = REPLY
    async with AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        yield client


@pytest.fixture
def choosing(ada: AsyncOpenAI, population: Population) -> None:
    """Make the base one that learned to call tools, whose engine shows calls as text."""
    population.engine.base = population.engine.base._replace(tool_parser="hermes")
    population.engine.reply = ("I", " look.", f"\n{WRITTEN}")


async def ask(ada: AsyncOpenAI, said: Any = "weather?", **options: Any) -> Response:
    given: dict[str, Any] = {"model": "ada", "tools": [WEATHER], "tool_choice": "required", **options}
    responses: Any = ada.responses
    response = await responses.create(input=said, **given)
    return Response.model_validate(response.model_dump(), strict=True)


def read(population: Population) -> list[tuple[str, str]]:
    return [(said.role, said.content) for said in population.engine.requests[-1].prompt]  # pyright: ignore


@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_required_call_is_an_item_and_its_text_is_logged(
    ada: AsyncOpenAI, population: Population, model: str
) -> None:
    response = await ask(ada, model=model, instructions="Be brief.")

    calls: list[Any] = list(response.output)
    assert [(call.type, call.name, call.status) for call in calls] == [
        ("function_call", "weather", "completed")
    ] * 2
    assert [call.arguments for call in calls] == ARGUMENTS
    assert len({*(call.id for call in calls), *(call.call_id for call in calls)}) == 4
    assert (response.status, response.output_text, response.instructions) == ("completed", "", "Be brief.")
    assert (response.tool_choice, response.parallel_tool_calls) == ("required", True)
    assert [tool.model_dump(exclude_none=True) for tool in response.tools] == [WEATHER]
    assert read(population)[0][1].startswith("Be brief.\n\nYou call tools")
    assert [turn.reply for turn in await population.log("ada")] == [TEXT] * (model == "ada")


async def test_a_response_with_calls_is_read_again_as_it_was_returned(
    ada: AsyncOpenAI, population: Population
) -> None:
    options: list[dict[str, Any]] = [{"instructions": "Be brief."}, {}, {"tool_choice": NAMED}]
    for given in options:
        made = await ask(ada, **given)

        assert (await ada.responses.retrieve(made.id)).model_dump(exclude={"created_at"}) == made.model_dump(
            exclude={"created_at"}
        )


async def test_a_stream_has_the_events_of_each_call_in_their_order(
    ada: AsyncOpenAI, client: httpx.AsyncClient
) -> None:
    del ada
    events = await events_of(client, tools=[WEATHER], tool_choice="required")

    kinds = [event.type.removeprefix("response.") for event in events]
    ended = ["function_call_arguments.done", "output_item.done"]
    assert kinds == [
        *("created", "in_progress", "output_item.added"),
        *["function_call_arguments.delta"] * 2,
        *ended,
        *("output_item.added", "function_call_arguments.delta"),
        *ended,
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    final = events[-1].response
    added = [event.item for event in events if event.type == "response.output_item.added"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [(item.status, item.arguments) for item in added] == [("in_progress", "")] * 2
    assert done == final.output
    for place, call in enumerate(final.output):
        parts = [event for event in events if getattr(event, "item_id", None) == call.id]
        assert {event.output_index for event in parts} == {place}
        assert "".join(event.delta for event in parts[:-1]) == parts[-1].arguments == ARGUMENTS[place]


async def test_the_clients_own_stream_helper_assembles_the_calls(ada: AsyncOpenAI) -> None:
    given: Any = {"model": "ada", "input": "weather?", "tools": [WEATHER], "tool_choice": "required"}
    async with ada.responses.stream(**given) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()

    assert [call.arguments for call in final.output] == ARGUMENTS  # pyright: ignore


async def test_a_stored_stream_has_the_calls_again(ada: AsyncOpenAI, client: httpx.AsyncClient) -> None:
    made = await ask(ada)

    again = [event async for event in await ada.responses.retrieve(made.id, stream=True)]

    kinds = [event.type.removeprefix("response.") for event in again]
    assert kinds.count("function_call_arguments.delta") == kinds.count("output_item.done") == 2
    last: Any = again[-1]
    assert last.response.model_dump()["output"] == made.model_dump()["output"]


@pytest.mark.parametrize("where", ["previous_response_id", "conversation"])
async def test_an_agent_sends_only_what_the_calls_returned(
    ada: AsyncOpenAI, population: Population, where: str
) -> None:
    talk = {"conversation": "talk"} if where == "conversation" else {}
    first = await ask(ada, **talk)
    calls: Any = first.output
    results = [output(call.call_id, f"sunny {number}") for number, call in enumerate(calls)]
    population.engine.reply = ("It is sunny.",)

    after = talk or {"previous_response_id": first.id}
    second = await ask(ada, results[::-1], tool_choice="none", **after)

    assert second.output_text == "It is sunny."
    assert read(population) == [
        ("user", "weather?"),
        ("assistant", TEXT),
        ("tool", "sunny 0"),
        ("tool", "sunny 1"),
    ]
    turn = (await population.log("ada"))[-1]
    assert [said.role for said in turn.messages] == ["tool", "tool"]
    items = strict(
        ResponseItemList, (await ada.responses.input_items.list(second.id, order="asc")).model_dump()
    )
    assert [(item.call_id, item.output) for item in items.data] == [
        (call.call_id, f"sunny {number}") for number, call in enumerate(calls)
    ]


async def test_an_agent_that_sends_all_items_continues_the_same_turns(
    ada: AsyncOpenAI, population: Population
) -> None:
    first = await ask(ada, extra_headers={"Idempotency-Key": "k"})
    calls: Any = first.output
    sent: Any = [
        {"role": "user", "content": "weather?"},
        *[call.model_dump() | {"parsed_arguments": {}} for call in calls],
        *[output(call.call_id, "") for call in calls],
    ]

    await ask(ada, sent, tool_choice="none")

    (_, turn) = await population.log("ada")
    said = [("user", "weather?"), ("assistant", TEXT), ("tool", ""), ("tool", "")]
    assert [tuple(message) for message in turn.messages] == said


async def test_results_are_sent_to_the_conversation_of_a_copy_of_the_person(
    ada: AsyncOpenAI, client: httpx.AsyncClient, population: Population
) -> None:
    conversation = (await ada.conversations.create()).id
    asked = await ask(ada, conversation=conversation)
    await ada.conversations.items.create(conversation, items=[{**CALLED}, output("x")])  # pyright: ignore
    again = await ask(ada, conversation=conversation)
    archive = (await client.get("/v1/personal-models/ada/export")).content
    imported = await client.post("/v1/personal-models/import", params={"name": "eve"}, content=archive)
    copy = conversation.replace("conv_ada_", "conv_eve_")

    results = [output(call.call_id) for call in again.output]  # pyright: ignore
    made = await ask(ada, results, model="eve", conversation=copy)

    assert imported.is_success
    assert made.conversation is not None
    assert made.conversation.id == copy
    assert [text for role, text in read(population) if role == "tool"] == ["sunny"] * 3
    items = [item async for item in ada.conversations.items.list(copy, order="asc")]
    assert [item.call_id for item in items if item.type == "function_call_output"] == [  # pyright: ignore
        "x",
        *(call.call_id for call in again.output),  # pyright: ignore
    ]
    assert [item.type for item in items[1:3]] == [call.type for call in asked.output]


async def test_outputs_into_a_conversation_take_effect_once(
    ada: AsyncOpenAI, client: httpx.AsyncClient, population: Population
) -> None:
    conversation = (await ada.conversations.create()).id
    asked: Any = await ask(ada, conversation=conversation)
    body = {"model": "ada", "conversation": conversation, "input": [output(asked.output[0].call_id)]}
    made = [await client.post("/v1/responses", json=body, headers={"Idempotency-Key": "k"})]
    await ask(ada, "and?", conversation=conversation)
    items = f"/v1/conversations/{conversation}/items"
    added = await client.post(items, json={"items": [CALLED]})
    result = {"items": [output("x")]}
    twice = [
        await client.post(items, json=result, headers={"Idempotency-Key": key}) for key in ("i", "i", "j")
    ]
    made.append(await client.post("/v1/responses", json=body, headers={"Idempotency-Key": "k"}))

    assert added.is_success
    assert [reply.status_code for reply in (*made, *twice)] == [200, 200, 200, 200, 400]
    assert made[0].json()["id"] == made[1].json()["id"]
    assert twice[0].json() == twice[1].json()
    assert len(await population.log("ada")) == 6


async def test_all_that_the_official_client_lists_may_be_sent_back_with_its_nulls(
    ada: AsyncOpenAI, population: Population
) -> None:
    first: Any = await ask(ada)
    results = [output(call.call_id) for call in first.output]
    second = await ask(ada, results, previous_response_id=first.id, tool_choice="none")
    listed = [item async for item in ada.responses.input_items.list(first.id, order="asc")]
    listed += [*first.output]
    listed += [item async for item in ada.responses.input_items.list(second.id, order="asc")]
    sent = [item.model_dump() for item in (*listed, *second.output)]

    tools = [tool.model_dump() for tool in first.tools]
    await ask(ada, [*sent, {"role": "user", "content": "and?"}], tools=tools, tool_choice="none")

    assert [role for role, _ in read(population)] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "user",
    ]


async def test_a_note_with_tools_and_no_choice_is_read_as_auto(
    ada: AsyncOpenAI, population: Population
) -> None:
    await ask(ada)
    [turn] = await population.log("ada")
    note = ResponseNote.model_validate({"items": 1, "model": "ada", "tools": [WEATHER]})

    shown = response_of(replace(turn, note=note.model_dump_json(exclude_unset=True)))

    assert shown.tool_choice == "auto"
    assert [item.type for item in shown.output] == ["function_call"] * 2


async def test_calls_keep_their_ids_where_what_was_before_them_is_left_out(
    ada: AsyncOpenAI, population: Population
) -> None:
    said: list[dict[str, Any]] = []
    for call, length in (("old", 900), ("new", 100)):
        said += [{"role": "user", "content": "word " * length}, {**CALLED, "call_id": call}, output(call)]

    made = await ask(ada, said, tool_choice="none")
    listed: list[Any] = [item async for item in ada.responses.input_items.list(made.id, order="asc")]

    assert [item.type for item in listed] == ["message", "function_call", "function_call_output"]
    assert [item.call_id for item in listed[1:]] == ["new", "new"]


async def test_calls_may_be_sent_back_by_their_ids(ada: AsyncOpenAI, population: Population) -> None:
    first: Any = await ask(ada)
    sent: list[Any] = [{"role": "user", "content": "weather?"}]
    sent += [{"type": "item_reference", "id": call.id} for call in first.output]

    await ask(ada, [*sent, output(first.output[1].call_id)], tool_choice="none")

    assert read(population) == [("user", "weather?"), ("assistant", TEXT), ("tool", "sunny")]


async def test_results_may_be_parts_and_empty(ada: AsyncOpenAI, population: Population) -> None:
    for returned, text in (([{"type": "input_text", "text": "sun"}], "sun"), ("", "")):
        first: Any = await ask(ada, parallel_tool_calls=False)
        given = {**output(first.output[0].call_id), "output": returned}

        await ask(ada, [given], previous_response_id=first.id, tool_choice="none")

        assert read(population)[-1] == ("tool", text)


@pytest.mark.parametrize(
    ("options", "most", "names"),
    [
        ({}, 16, ["weather", "news"]),
        ({"parallel_tool_calls": False}, 1, ["weather", "news"]),
        ({"tool_choice": NAMED}, 1, ["weather"]),
    ],
)
async def test_a_choice_decides_which_functions_the_schema_has(
    ada: AsyncOpenAI, population: Population, options: dict[str, Any], most: int, names: list[str]
) -> None:
    response = await ask(ada, tools=[WEATHER, NEWS], **options)

    schema = json.loads(population.engine.requests[-1].sampling.response_schema or "")
    assert (schema["maxItems"], list(schema["$defs"])) == (most, names)
    assert response.parallel_tool_calls == (most > 1)


async def test_tools_are_told_to_their_response_alone_and_developer_items_stay_theirs(
    ada: AsyncOpenAI, population: Population
) -> None:
    said = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "weather?"}]
    first = await ask(ada, said)
    await ask(ada, "and?", previous_response_id=first.id, tool_choice="none")

    assert read(population) == [
        ("system", "Be kind."),
        ("user", "weather?"),
        ("assistant", TEXT),
        ("user", "and?"),
    ]


@pytest.mark.usefixtures("choosing")
async def test_a_base_that_learned_of_tools_chooses(
    ada: AsyncOpenAI, population: Population, client: httpx.AsyncClient
) -> None:
    made = await ask(ada, tool_choice="auto")
    events = await events_of(client, tools=[WEATHER])

    output: list[Any] = list(made.output)
    assert [item.type for item in output] == ["message", "function_call", "function_call"]
    assert made.output_text == "I look."
    assert [call.arguments for call in output[1:]] == ['{"city": "Paris"}', "{}"]
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert texts == ["I", " look."]
    assert done == events[-1].response.output
    assert [item.type for item in done] == ["message", "function_call", "function_call"]
    shown = await ada.responses.retrieve(made.id)
    assert shown.model_dump()["output"] == made.model_dump()["output"]
    population.engine.reply = (WRITTEN,)
    alone = await events_of(client, tools=[WEATHER])
    assert [item.type for item in alone[-1].response.output] == ["function_call"] * 2


@pytest.mark.usefixtures("choosing")
async def test_calls_that_were_chosen_are_answered_as_the_same_text(
    ada: AsyncOpenAI, population: Population
) -> None:
    first: Any = await ask(ada, tool_choice="auto")
    sent = [{"role": "user", "content": "weather?"}, *[item.model_dump() for item in first.output]]

    await ask(ada, [*sent, output(first.output[1].call_id)], tool_choice="auto")

    (turn, second) = await population.log("ada")
    assert second.messages[1] == Message("assistant", turn.reply)


async def test_a_choice_that_is_left_to_a_base_that_knows_no_tools_is_a_text(ada: AsyncOpenAI) -> None:
    made = await ask(ada, tool_choice="auto")

    assert (made.output_text, made.tool_choice) == (TEXT, "none")
    assert [warning["param"] for warning in made.model_dump()["warnings"]] == ["tools"]
    assert (await ada.responses.retrieve(made.id)).output_text == TEXT


async def test_a_reply_that_is_cut_off_in_a_call_is_incomplete(
    ada: AsyncOpenAI, population: Population, client: httpx.AsyncClient
) -> None:
    population.engine.reply, population.engine.finish_reason = REPLY[:2], "length"

    made: Any = await ask(ada)
    events = await events_of(client, tools=[WEATHER], tool_choice="required")

    for response in (made, events[-1].response):
        assert (response.status, response.output[0].status) == ("incomplete", "incomplete")
        assert response.output[0].arguments == '{"city"'
    assert [event.type.removeprefix("response.") for event in events[-3:]] == [
        "function_call_arguments.done",
        "output_item.done",
        "incomplete",
    ]


async def test_deleting_a_call_forgets_what_it_returned(ada: AsyncOpenAI, population: Population) -> None:
    first: Any = await ask(ada)
    population.engine.reply = ("Sunny.",)
    results = [output(call.call_id, "a secret") for call in first.output]
    second = await ask(ada, results, previous_response_id=first.id, tool_choice="none")
    third = await ask(ada, "and?", previous_response_id=second.id, tool_choice="none")

    await ada.responses.delete(first.id)

    assert [turn.forgotten for turn in await population.log("ada")] == [True, True, False, False]
    await ask(ada, "then?", previous_response_id=third.id, tool_choice="none")
    assert read(population) == [("user", "and?"), ("assistant", "Sunny."), ("user", "then?")]


async def test_a_call_comes_before_a_format(ada: AsyncOpenAI) -> None:
    made = await ask(ada, text={"format": {"type": "json_object"}})

    assert [warning["param"] for warning in made.model_dump()["warnings"]] == ["text.format"]
    assert made.output[0].type == "function_call"


def _function(**fields: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "name": "a", **fields}]


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (None, {"tool_choice": "any"}, "tool_choice"),
    (None, {"tool_choice": {"type": "web_search_preview"}}, "tool_choice.name"),
    (None, {"tool_choice": {**NAMED, "name": "news"}}, "tool_choice"),
    (None, {"tools": []}, "tool_choice"),
    (None, {"tools": [WEATHER] * 2}, "tools"),
    (None, {"tools": [NEWS] * 129}, "tools"),
    (None, {"tools": [{"type": "file_search", "vector_store_ids": ["a"]}]}, "tools[0]"),
    (None, {"tools": [{"type": "function", "function": {"name": "a"}}]}, "tools[0].name"),
    (None, {"tools": _function(name="é {}")}, "tools[0].name"),
    (None, {"tools": _function(parameters={"type": "array"})}, "tools"),
    (None, {"tools": _function(parameters={"$ref": "#/$defs/gone"})}, "tools"),
    (None, {"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
    ([output("x")], {}, "input[0].call_id"),
    ([CALLED, output("x"), output("x")], {}, "input[2].call_id"),
    ([CALLED, CALLED], {}, "input[0].call_id"),
    ([CALLED, output("y")], {}, "input[1].call_id"),
    ([{**CALLED, "name": "é"}], {}, "input[0].name"),
    ([{**CALLED, "arguments": {}}], {}, "input[0].arguments"),
    ([{**CALLED, "call_id": ""}], {}, "input[0].call_id"),
    ([{"type": "function_call_output", "output": "1"}], {}, "input[0].call_id"),
    ([{**output("x"), "output": [{"type": "input_image", "image_url": "x"}]}], {}, "input[0].output[0]"),
]


@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize(("said", "options", "parameter"), REFUSED)
async def test_what_cannot_be_called_is_refused_by_name(
    ada: AsyncOpenAI, population: Population, model: str, said: Any, options: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await ask(ada, said or "weather?", model=model, **options)

    assert raised.value.param == parameter
    assert population.engine.requests == []
    assert await population.log("ada") == ()


async def test_a_result_of_another_turns_call_is_refused(ada: AsyncOpenAI, population: Population) -> None:
    first: Any = await ask(ada)
    await ask(ada, "aside", conversation="talk", tool_choice="none")
    places: list[dict[str, Any]] = [{}, {"conversation": "talk"}, {"conversation": "new"}]
    for place in places:
        with pytest.raises(openai.BadRequestError) as raised:
            await ask(ada, [output(first.output[0].call_id)], tool_choice="none", **place)

        assert raised.value.param == "input[0].call_id"
    assert len(await population.log("ada")) == 2
