"""Calls of the client's tools, with the official client."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from populace.actors.engine import Delta, FinishReason, Message
from populace.gateway.completions.call_reader import CallReader, calling_choice
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_answers import events_of

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
ASK: dict[str, Any] = {"role": "user", "content": "weather?"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
NEWS: dict[str, Any] = {"type": "function", "function": {"name": "news"}}
NAMED: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}
REPLY = (
    '[{"name": "wea',
    'ther", "arguments": {"city"',
    ': "Pa}\\"r[is"}}, {"name": "weather", "arguments"',
    ": {}}",
    "]",
)
TEXT = "".join(REPLY)
ARGUMENTS = ['{"city": "Pa}\\"r[is"}', "{}"]
CALLED: dict[str, Any] = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def called(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def result(call: str | None, content: str = "sunny") -> dict[str, Any]:
    return {"role": "tool", "content": content} | ({} if call is None else {"tool_call_id": call})


@pytest.fixture
async def ada(population: Population, url: str) -> AsyncGenerator[AsyncOpenAI, None]:
    population.engine.reply = REPLY
    async with AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        yield client


async def _ask(ada: AsyncOpenAI, *messages: Any, **options: Any) -> ChatCompletion:
    given: Any = {"model": "ada", "tools": [WEATHER], "tool_choice": "required", **options}
    sent: Any = list(messages) or [ASK]
    return cast("ChatCompletion", await ada.chat.completions.create(messages=sent, **given))


async def _stream(ada: AsyncOpenAI, *messages: Any, **options: Any) -> list[ChatCompletionChunk]:
    chunks = await _ask(ada, *messages, stream=True, **options)
    return [chunk async for chunk in cast("openai.AsyncStream[ChatCompletionChunk]", chunks)]


def _system(population: Population) -> str:
    first: Any = population.engine.requests[-1].prompt[0]
    return first.content if first.role == "system" else ""


@pytest.mark.parametrize("model", ["ada", "base"])
async def test_a_required_call_is_made_and_its_text_logged(
    ada: AsyncOpenAI, population: Population, model: str
) -> None:
    reply = await _ask(ada, model=model)

    [choice] = ChatCompletion.model_validate(reply.model_dump(), strict=True).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls: Any = choice.message.tool_calls
    assert [(call.type, call.function.name) for call in calls] == [("function", "weather")] * 2
    assert [call.function.arguments for call in calls] == ARGUMENTS
    assert len({call.id for call in calls}) == 2
    assert "Tells the weather." in _system(population)
    assert [turn.reply for turn in await population.log("ada")] == [TEXT] * (model == "ada")


async def test_a_call_comes_back_with_what_its_client_added(ada: AsyncOpenAI) -> None:
    message: Any = (await _ask(ada)).choices[0].message.model_dump()
    for number, call in enumerate(message["tool_calls"]):
        call |= {"index": number, "extra_content": None}
        call["function"]["parsed_arguments"] = {"city": "Paris"}
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "Sunny."} for call in message["tool_calls"]
    ]

    again = await _ask(ada, ASK, message, *results)

    assert again.choices[0].finish_reason == "tool_calls"


async def test_a_stream_makes_the_same_calls_with_the_same_ids_as_a_whole_reply(ada: AsyncOpenAI) -> None:
    whole = await _ask(ada, extra_headers={"Idempotency-Key": "k"})
    calls: Any = whole.choices[0].message.tool_calls

    replayed = await _stream(ada, extra_headers={"Idempotency-Key": "k"})
    streamed = await _stream(ada)

    parts = [part for chunk in replayed for part in chunk.choices[0].delta.tool_calls or ()]
    assert [part.id for part in parts] == [call.id for call in calls]
    for chunks in (replayed, streamed):
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].delta.role for chunk in chunks[1:]] == [None] * len(chunks[1:])
        assert _arguments(chunks) == {0: ARGUMENTS[0], 1: ARGUMENTS[1]}
        assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "tool_calls"


def _arguments(chunks: list[ChatCompletionChunk]) -> dict[int, str]:
    """Join the fragments as a client does; the first of each call has its id, type and name, others none."""
    joined: dict[int, str] = {}
    for part in [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or ()]:
        assert part.function is not None
        is_first = part.index not in joined
        assert [part.id is not None, part.type is not None, part.function.name is not None] == [is_first] * 3
        joined[part.index] = joined.get(part.index, "") + (part.function.arguments or "")
    return joined


async def test_the_clients_own_stream_helper_assembles_the_calls(ada: AsyncOpenAI) -> None:
    given: Any = {"model": "ada", "messages": [ASK], "tools": [WEATHER], "tool_choice": "required"}
    async with ada.chat.completions.stream(**given) as stream:
        done = [
            event.arguments async for event in stream if event.type == "tool_calls.function.arguments.done"
        ]

    assert done == ARGUMENTS


async def test_calls_and_results_go_back_and_are_in_the_log(ada: AsyncOpenAI, population: Population) -> None:
    first = await _ask(ada)
    message: Any = first.choices[0].message
    results = [result(call.id, f"sunny {number}") for number, call in enumerate(message.tool_calls)]

    population.engine.reply = ("It is sunny.",)
    second = await _ask(ada, ASK, message, *reversed(results), tool_choice="none")

    assert second.choices[0].message.content == "It is sunny."
    turn = (await population.log("ada"))[-1]
    said = [(message.role, message.content) for message in turn.messages]
    assert said == [("user", "weather?"), ("assistant", TEXT), ("tool", "sunny 0"), ("tool", "sunny 1")]


async def test_a_call_that_is_sent_back_is_known_however_its_client_wrote_it(
    ada: AsyncOpenAI, population: Population
) -> None:
    first = await _ask(ada)
    calls: Any = first.choices[0].message.model_dump(exclude_none=True)["tool_calls"]
    calls[0]["function"]["arguments"] = calls[0]["function"]["arguments"].replace(": ", ":")

    for message in (
        called(*calls),
        {**called(*calls), "content": ""},
        {"role": "assistant", "tool_calls": calls},
    ):
        await _ask(ada, ASK, message, result(calls[0]["id"]), tool_choice="none")

        assert (await population.log("ada"))[-1].messages[1].content == TEXT


async def test_tools_are_told_to_the_turn_that_has_them_and_not_to_those_after_it(
    ada: AsyncOpenAI, population: Population
) -> None:
    in_talk = {"extra_body": {"conversation": "talk"}}
    await _ask(ada, **in_talk)
    await _ask(ada, {"role": "user", "content": "and?"}, tool_choice="none", **in_talk)

    [turn, _] = await population.log("ada")
    assert [said.role for said in turn.messages] == ["system", "user"]
    read = [said.content for said in population.engine.requests[-1].prompt if isinstance(said, Message)]
    assert read == ["weather?", TEXT, "and?"]


async def test_tools_stay_with_a_system_message_of_the_clients_own(
    ada: AsyncOpenAI, population: Population
) -> None:
    in_talk = {"extra_body": {"conversation": "talk"}}
    await _ask(ada, {"role": "system", "content": "Be kind."}, ASK, **in_talk)
    await _ask(ada, {"role": "user", "content": "and?"}, tool_choice="none", **in_talk)

    assert _system(population).startswith("Be kind.\n\nYou call tools")


@pytest.mark.parametrize("arguments", ["", "not JSON {", "[1]"])
async def test_arguments_that_are_no_object_are_read_as_text(
    ada: AsyncOpenAI, population: Population, arguments: str
) -> None:
    call = {**CALLED, "function": {"name": "weather", "arguments": arguments}}

    await _ask(ada, ASK, called(call, content="I look."), result("x"), tool_choice="none")

    read: Any = population.engine.requests[-1].prompt
    assert read[1].content == f'I look.\n[{{"name": "weather", "arguments": "{arguments}"}}]'


@pytest.mark.parametrize(
    ("options", "most", "names"),
    [
        ({}, 16, ["weather", "news"]),
        ({"parallel_tool_calls": False}, 1, ["weather", "news"]),
        ({"tool_choice": NAMED}, 1, ["weather"]),
        ({"tool_choice": NAMED, "parallel_tool_calls": True}, 16, ["weather"]),
    ],
)
async def test_a_choice_decides_which_tools_the_schema_has_and_how_often(
    client: httpx.AsyncClient, population: Population, options: dict[str, Any], most: int, names: list[str]
) -> None:
    population.engine.reply = REPLY
    given: dict[str, Any] = {"tools": [WEATHER, NEWS], "tool_choice": "required", **options}

    reply = await client.post(CHAT, json=chat_body(**given))

    assert reply.status_code == 200
    schema = httpx.Response(200, text=str(population.engine.requests[-1].sampling.response_schema)).json()
    assert (schema["minItems"], schema["maxItems"], list(schema["$defs"])) == (1, most, names)
    assert ('"news"' in _system(population)) == ("news" in names)


async def test_without_a_choice_to_make_a_reply_is_a_text(ada: AsyncOpenAI, population: Population) -> None:
    neutral: list[dict[str, Any]] = [{"tool_choice": "none"}, {"tools": [], "tool_choice": "auto"}]
    for options in neutral:
        reply = await _ask(ada, **options)

        assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (TEXT, "stop")
        assert reply.choices[0].message.tool_calls is None
        assert population.engine.requests[-1].sampling.response_schema is None
        assert _system(population) == ""


@pytest.mark.parametrize("options", [{"tool_choice": "auto"}, {"tool_choice": openai.omit}])
async def test_a_choice_that_is_left_to_a_base_that_knows_no_tools_is_a_reply_in_words_with_a_warning(
    ada: AsyncOpenAI, options: dict[str, Any]
) -> None:
    reply = await _ask(ada, **options)

    assert reply.choices[0].message.content == TEXT
    told: Any = reply.model_dump()["warnings"]
    assert [warning["param"] for warning in told] == ["tools"]


@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize("options", [{"tool_choice": "auto"}, {"tool_choice": openai.omit}])
async def test_a_setting_refuses_such_a_choice_by_name(
    ada: AsyncOpenAI, population: Population, model: str, options: dict[str, Any]
) -> None:
    population.app.state.gateway = replace(population.app.state.gateway, tools_auto="refuse")

    with pytest.raises(openai.BadRequestError) as refused:
        await _ask(ada, model=model, **options)

    assert refused.value.param == "tool_choice"
    assert population.engine.requests == []


@pytest.fixture
def choosing(ada: AsyncOpenAI, population: Population) -> None:
    """Make the base one that learned to call tools, whose engine shows calls as text."""
    population.engine.base = population.engine.base._replace(tool_parser="hermes")
    population.engine.reply = ("I", " look.", f"\n{WRITTEN}")


WRITTEN = '[{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "weather", "arguments": {}}]'


@pytest.mark.usefixtures("choosing")
@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize("options", [{"tool_choice": "auto"}, {"tool_choice": openai.omit}])
async def test_a_base_that_learned_of_tools_chooses_and_its_template_tells_of_them(
    ada: AsyncOpenAI, population: Population, model: str, options: dict[str, Any]
) -> None:
    reply = await _ask(ada, model=model, **options)
    chunks = await _stream(ada, model=model, **options)

    [choice] = reply.choices
    calls: Any = choice.message.tool_calls
    assert (choice.message.content, choice.finish_reason) == ("I look.", "tool_calls")
    assert [call.function.arguments for call in calls] == ['{"city": "Paris"}', "{}"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "I look."
    assert _arguments(chunks) == {0: '{"city": "Paris"}', 1: "{}"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    for request in population.engine.requests:
        [told] = request.template["tools"]
        assert (told["function"]["name"], request.sampling.response_schema) == ("weather", None)
    logged = [turn.reply for turn in await population.log("ada")]
    assert logged == [f"I look.\n{WRITTEN}"] * (2 if model == "ada" else 0)


@pytest.mark.usefixtures("choosing")
@pytest.mark.parametrize(("model", "warned"), [("ada", ["tools"]), ("ada:peek", []), ("base", [])])
async def test_only_a_turn_that_is_recorded_is_told_that_the_memory_does_not_take_it_in(
    ada: AsyncOpenAI, model: str, warned: list[str]
) -> None:
    tools: Any = [{"type": "function", **WEATHER["function"]}]

    reply = await _ask(ada, model=model, tool_choice="auto")
    made: Any = await ada.responses.create(model=model, input="weather?", tools=tools)

    for told in (reply.model_dump().get("warnings") or (), made.model_dump().get("warnings") or ()):
        assert [warning["param"] for warning in told if warning["param"] == "tools"] == warned


@pytest.mark.usefixtures("choosing")
async def test_calls_that_were_chosen_go_back_as_the_same_text(
    ada: AsyncOpenAI, population: Population
) -> None:
    first = await _ask(ada, tool_choice="auto")
    message: Any = first.choices[0].message
    population.engine.reply = ("It is sunny.",)

    second = await _ask(ada, ASK, message, result(message.tool_calls[0].id), tool_choice="auto")
    chunks = await _stream(ada, tool_choice="auto")

    assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("It is sunny.", "stop")
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["It is sunny."]
    turns = await population.log("ada")
    assert turns[1].messages[1].content == turns[0].reply


@pytest.mark.usefixtures("choosing")
async def test_a_replay_of_a_choice_is_streamed_whole(ada: AsyncOpenAI) -> None:
    first = await _ask(ada, tool_choice="auto", extra_headers={"Idempotency-Key": "k"})
    again = await _stream(ada, tool_choice="auto", extra_headers={"Idempotency-Key": "k"})

    calls: Any = first.choices[0].message.tool_calls
    parts = [part for chunk in again for part in chunk.choices[0].delta.tool_calls or ()]
    assert [part.id for part in parts] == [call.id for call in calls]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in again) == "I look."


@pytest.mark.usefixtures("choosing")
@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize("parameters", [{"description": "\ud800"}, {"description": "x" * 70_000}])
async def test_tools_that_may_be_called_are_bounded_as_those_that_have_to_be(
    client: httpx.AsyncClient, population: Population, model: str, parameters: dict[str, Any]
) -> None:
    body = chat_body(model=model, tools=_function(parameters=parameters))

    reply = await client.post(CHAT, content=json.dumps(body), headers=JSON)

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "tools")
    assert population.engine.requests == []


@pytest.mark.usefixtures("choosing")
async def test_tools_are_no_variable_that_a_caller_sets(ada: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await _ask(ada, extra_body={"chat_template_kwargs": {"tools": []}})

    assert raised.value.param == "chat_template_kwargs"


async def test_a_call_comes_before_a_format_as_at_vllm(ada: AsyncOpenAI, population: Population) -> None:
    reply = await _ask(ada, response_format={"type": "json_object"})

    assert reply.choices[0].finish_reason == "tool_calls"
    told: Any = reply.model_dump()["warnings"]
    assert [warning["param"] for warning in told] == ["response_format"]
    assert '"minItems": 1' in str(population.engine.requests[-1].sampling.response_schema)


async def test_several_choices_and_log_probabilities_go_with_calls(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.reply = REPLY
    body = chat_body(tools=[WEATHER], tool_choice="required", n=2, logprobs=True)

    whole = (await client.post(CHAT, json=body)).json()
    chunks: Any = events_of(await client.post(CHAT, json={**body, "stream": True}))

    for choice in whole["choices"]:
        assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == ARGUMENTS
        assert [row["token"] for row in choice["logprobs"]["content"]] == list(REPLY)
    for number in range(2):
        own: Any = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == number]
        rows = [row["token"] for choice in own for row in choice["logprobs"]["content"]]
        assert rows == list(REPLY)
    ids = [call["id"] for choice in whole["choices"] for call in choice["message"]["tool_calls"]]
    assert len(set(ids)) == 4


async def test_each_chunk_of_a_call_has_the_usage_so_far_if_that_is_asked_for(ada: AsyncOpenAI) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, last = await _stream(ada, stream_options=options)

    counted = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert counted == list(range(1, len(REPLY) + 1))
    assert last.usage is not None
    assert (last.choices, last.usage.completion_tokens) == ([], len(REPLY))


async def test_a_stream_that_is_dropped_in_a_call_leaves_nothing(
    ada: AsyncOpenAI, population: Population
) -> None:
    population.engine.hold_before = 3
    stream: Any = await _ask(ada, stream=True)
    async with asyncio.timeout(HANG_SECONDS):
        await anext(aiter(stream))
        await population.engine.held.wait()
        await stream.close()
        await population.engine.wait_freed()

    population.engine.hold_before = None
    again = await _ask(ada)

    assert again.choices[0].finish_reason == "tool_calls"
    assert [turn.position for turn in await population.log("ada")] == [0]


async def test_a_reply_that_was_cut_off_before_its_call_may_be_sent_back(
    ada: AsyncOpenAI, population: Population
) -> None:
    population.engine.reply, population.engine.finish_reason = ('[{"na',), "length"
    message = (await _ask(ada)).choices[0].message
    assert message.content is None

    await _ask(ada, ASK, message, {"role": "user", "content": "and?"})
    await _ask(ada, ASK, message.model_dump(), {"role": "user", "content": "and?"})
    await _ask(ada, ASK, message.model_dump(exclude_none=True), {"role": "user", "content": "and?"})

    for request in population.engine.requests[1:]:
        assert [(said.role, said.content) for said in request.prompt[1:]] == [  # pyright: ignore
            ("user", "weather?"),
            ("assistant", ""),
            ("user", "and?"),
        ]


@pytest.mark.parametrize("reason", ["length", "stop"])
def test_a_reply_that_was_cut_off_says_so_and_shows_what_there_is(reason: FinishReason) -> None:
    for length, shown in ((10, None), (len(TEXT) - 3, ['{"city": "Pa}\\"r[is"}', "{"])):
        cut = Delta(TEXT[:length], (1,), 1, finish_reason=reason)
        choice = calling_choice(cut, "chatcmpl-1")

        calls = choice["message"].get("tool_calls")
        assert choice["finish_reason"] == reason
        assert shown == (None if calls is None else [call["function"]["arguments"] for call in calls])


@given(st.sets(st.integers(0, len(TEXT))))
def test_however_a_reply_is_cut_into_tokens_its_calls_are_the_same(cuts: set[int]) -> None:
    reader = CallReader()
    arguments: dict[int, str] = {}
    names: list[str] = []
    for start, stop in pairwise(sorted({0, len(TEXT), *cuts})):
        assert not reader.is_complete
        for part in reader.read(TEXT[start:stop]):
            arguments[part.call] = arguments.get(part.call, "") + part.arguments
            names += [part.name] if part.name else []

    assert reader.is_complete
    assert (list(arguments.values()), names) == (ARGUMENTS, ["weather"] * 2)


def _function(**function: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "a", **function}}]


@pytest.mark.parametrize("model", ["ada", "base"])
@pytest.mark.parametrize(
    ("messages", "options", "parameter"),
    [
        ([], {"tool_choice": "any"}, "tool_choice"),
        ([], {"tool_choice": 5}, "tool_choice"),
        ([], {"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ([], {"tool_choice": {"type": "function", "function": {"name": "news"}}}, "tool_choice"),
        ([], {"tools": []}, "tool_choice"),
        ([], {"tools": openai.omit}, "tool_choice"),
        ([], {"tools": [WEATHER] * 2}, "tools"),
        ([], {"tools": [NEWS] * 1000}, "tools"),
        ([], {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ([], {"tools": _function(name="é {}")}, "tools[0].function.name"),
        ([], {"tools": _function(name="")}, "tools[0].function.name"),
        ([], {"tools": _function(name="a" * 65)}, "tools[0].function.name"),
        ([], {"tools": _function(parameters={"type": "array"})}, "tools"),
        ([], {"tools": _function(parameters={"not": {}})}, "tools"),
        ([], {"tools": _function(parameters={"$ref": "#/$defs/gone"})}, "tools"),
        ([], {"tools": _function(parameters={"maxItems": 10**9})}, "tools"),
        ([], {"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ([], {"functions": [{"name": "a"}]}, "functions"),
        ([], {"function_call": {"name": "a"}}, "function_call"),
        ([called(CALLED), result("x")], {"extra_body": {"conversation": "talk"}}, "conversation"),
        ([ASK, result("x")], {}, "messages[1].tool_call_id"),
        ([ASK, result(None)], {}, "messages[1].tool_call_id"),
        ([ASK, called(CALLED), result("x"), result("x")], {}, "messages[3].tool_call_id"),
        ([ASK, called(CALLED, CALLED)], {}, "messages[1].tool_calls"),
        ([ASK, called(*[CALLED] * 129)], {}, "messages[1].tool_calls"),
        ([ASK, called(CALLED, role="user", content="a")], {}, "messages[1]"),
        ([{**ASK, "tool_call_id": "x"}], {}, "messages[0]"),
        (
            [ASK, called({**CALLED, "function": {"name": 'a"', "arguments": ""}})],
            {},
            "messages[1].tool_calls[0].function.name",
        ),
        (
            [ASK, called({**CALLED, "function": {"name": "a", "arguments": {}}})],
            {},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ([ASK, called({**CALLED, "id": ""})], {}, "messages[1].tool_calls[0].id"),
        ([ASK, {"role": "function", "name": "a", "content": "sunny"}], {}, "messages[1].role"),
    ],
)
async def test_what_cannot_be_called_is_refused_by_name(
    ada: AsyncOpenAI,
    population: Population,
    model: str,
    messages: list[Any],
    options: dict[str, Any],
    parameter: str,
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await _ask(ada, *messages, model=model, **options)

    assert raised.value.param == parameter
    assert population.engine.requests == []
    assert await population.log("ada") == ()


async def test_the_population_calls_no_tools(client: httpx.AsyncClient) -> None:
    asked: list[dict[str, Any]] = [{"tools": [WEATHER]}, {"tool_choice": "required"}]
    for options in asked:
        reply = await client.post(CHAT, json=chat_body(model="population", **options))

        assert (reply.status_code, reply.json()["error"]["param"]) == (400, next(iter(options)))
