"""OpenAI's Responses API: each response is a turn of a person's log, and its shape is OpenAI's own."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_item_list import ResponseItemList
from pydantic import BaseModel, TypeAdapter

from populace.actors.engine import Message
from populace.actors.errors import EngineUnavailable
from populace.actors.turn import Interaction
from populace.api.responses import Item
from populace.gateway.responses import turn_lookup
from populace.gateway.responses.wire import items_of
from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import BODY_BYTES_MAX, Population
from tests.runtime.gateway.scripted_engine import BASE

PATH = "/v1/responses"
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def strict(shape: type[BaseModel], body: dict[str, Any]) -> Any:
    """Read a body as the official package declares it, types and literals included."""
    return shape.model_validate(body)


async def respond(client: httpx.AsyncClient, said: Any = "hello", **options: Any) -> dict[str, Any]:
    reply = await client.post(PATH, json={"model": "ada", "input": said, **options})
    assert reply.status_code == 200, reply.text
    strict(Response, reply.json())
    return reply.json()


async def events_of(client: httpx.AsyncClient, **options: Any) -> list[Any]:
    body = {"model": "ada", "input": "hello", "stream": True, **options}
    reply = await client.post(PATH, json=body)
    assert reply.status_code == 200, reply.text
    return read_events(reply.text)


def read_events(text: str) -> list[Any]:
    events: list[Any] = []
    for written in text.removesuffix("\n\n").split("\n\n"):
        name, data = written.split("\n")
        event = EVENT.validate_json(data.removeprefix("data: "))
        assert name == f"event: {event.type}"
        events.append(event)
    return events


def prompt_of(population: Population) -> list[str]:
    return [said.content for said in population.engine.requests[-1].prompt if isinstance(said, Message)]


@pytest.fixture
async def ada(population: Population, url: str) -> AsyncGenerator[AsyncOpenAI, None]:
    async with AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        yield client


async def test_a_response_is_a_turn_and_says_what_it_was_made_with(
    client: httpx.AsyncClient, population: Population
) -> None:
    made = await respond(client, metadata={"topic": "greeting"}, temperature=0.5, max_output_tokens=9)

    (turn,) = await population.log("ada")
    assert [(said.role, said.content) for said in turn.messages] == [("user", "hello")]
    response = strict(Response, made)
    assert response.output_text == turn.reply == "reply 1 to you"
    assert (response.status, response.metadata, response.temperature) == (
        "completed",
        {"topic": "greeting"},
        0.5,
    )
    assert (response.usage.output_tokens, response.max_output_tokens) == (3, 9)
    assert made["populace"]["base"] == BASE.fingerprint
    assert made["populace"]["log_position"] == 0
    assert population.engine.requests[0].sampling.max_tokens == 9


async def test_a_response_is_read_again_from_its_turn_as_it_was_returned(
    client: httpx.AsyncClient, population: Population
) -> None:
    text = {"format": {"type": "json_schema", "name": "any", "schema": {"type": "object"}, "strict": True}}
    first = await respond(client)
    made = await respond(
        client,
        instructions="Be brief.",
        previous_response_id=first["id"],
        metadata={"a": "b"},
        top_p=0.5,
        text=text,
        truncation="auto",
    )
    population.restart()
    async with population.client() as later:
        shown = await later.get(f"{PATH}/{made['id']}")

    # What the created event says is when the turn began, the log when it was committed.
    assert {**shown.json(), "created_at": made["created_at"]} == made
    assert (made["instructions"], made["previous_response_id"]) == ("Be brief.", first["id"])
    assert made["text"] == text


async def test_a_response_follows_another_without_what_was_said_beside_it(
    client: httpx.AsyncClient, population: Population
) -> None:
    first = await respond(client, "one", instructions="Be brief.")
    await respond(client, "aside")
    second = await respond(client, "two", previous_response_id=first["id"], instructions="Be long.")
    assert prompt_of(population) == ["Be long.", "one", "reply 1 to you", "two"]

    await respond(client, "another two", previous_response_id=first["id"])
    assert prompt_of(population) == ["one", "reply 1 to you", "another two"]
    await respond(client, "three", previous_response_id=second["id"])
    assert prompt_of(population) == ["one", "reply 1 to you", "two", "reply 3 to you", "three"]


async def test_a_conversation_has_the_turns_that_name_it(
    client: httpx.AsyncClient, population: Population
) -> None:
    await respond(client, "one", conversation="conv_1")
    await respond(client, "aside")
    made = await respond(client, "two", conversation={"id": "conv_1"})

    assert prompt_of(population) == ["one", "reply 1 to you", "two"]
    assert made["conversation"] == {"id": "conv_1"}
    assert [turn.conversation for turn in await population.log("ada")] == ["conv_1", "thread-1", "conv_1"]


async def test_a_chat_can_be_followed_as_any_turn_can(
    client: httpx.AsyncClient, population: Population
) -> None:
    await client.post(
        "/v1/chat/completions", json={"model": "ada", "messages": [{"role": "user", "content": "hi"}]}
    )
    (turn,) = await population.log("ada")
    named = f"resp_ada_0_{turn.completion_id[-16:]}"

    shown = strict(Response, (await client.get(f"{PATH}/{named}")).json())
    await respond(client, "and?", previous_response_id=named)

    assert (shown.output_text, shown.model) == ("reply 1 to you", "ada")
    assert prompt_of(population) == ["hi", "reply 1 to you", "and?"]


async def test_what_is_not_stored_leaves_no_trace_and_is_not_found(
    client: httpx.AsyncClient, population: Population
) -> None:
    first = await respond(client, "one")
    for options in (
        {"store": False},
        {"model": "ada:peek"},
        {"model": "base", "previous_response_id": None},
    ):
        made = await respond(client, "two", **{"previous_response_id": first["id"], **options})

        assert made["store"] is False
        assert (await client.get(f"{PATH}/{made['id']}")).status_code == 404
        reply = await client.post(
            PATH, json={"model": "ada", "input": "hi", "previous_response_id": made["id"]}
        )
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")
    assert len(await population.log("ada")) == 1
    assert [len(request.prompt) for request in population.engine.requests] == [1, 3, 3, 1]


async def test_items_are_messages_as_clients_send_them_back(
    client: httpx.AsyncClient, population: Population
) -> None:
    first = await respond(client, "one")
    await respond(
        client,
        [
            {"role": "developer", "content": "Be kind."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "o"},
                    {"type": "input_text", "text": "ne"},
                ],
            },
            *first["output"],
            {"role": "user", "content": "two"},
        ],
    )

    (_, turn) = await population.log("ada")
    assert [(said.role, said.content) for said in turn.messages] == [
        ("system", "Be kind."),
        ("user", "one"),
        ("assistant", "reply 1 to you"),
        ("user", "two"),
    ]


async def test_items_may_be_sent_back_by_their_ids(client: httpx.AsyncClient, population: Population) -> None:
    first = await respond(client, "one")
    asked = (await client.get(f"{PATH}/{first['id']}/input_items")).json()["data"]
    references = [{"type": "item_reference", "id": item["id"]} for item in (*asked, *first["output"])]

    await respond(client, [*references, {"role": "user", "content": "two"}])
    await population.create("bob")
    for model in ("bob", "base"):
        crossed = await client.post(PATH, json={"model": model, "input": references})
        assert (crossed.status_code, crossed.json()["error"]["param"]) == (400, "input[0].id")

    assert prompt_of(population) == ["one", "reply 1 to you", "two"]


async def test_an_item_of_a_turn_whose_check_is_of_digits_alone_may_be_sent_back(
    client: httpx.AsyncClient, population: Population
) -> None:
    # The completion ids of acme's ada with these keys end with 16 decimal digits, and with others.
    for key, is_decimal in (("5785", True), ("0", False)):
        body = {"model": "ada", "input": key}
        made = await client.post(PATH, json=body, headers={"Idempotency-Key": key})
        asked = (await client.get(f"{PATH}/{made.json()['id']}/input_items")).json()["data"]
        items = [*asked, *made.json()["output"]]

        await respond(client, [{"type": "item_reference", "id": item["id"]} for item in items])

        assert made.json()["id"][-16:].isdigit() == is_decimal
        assert prompt_of(population)[0] == key


async def test_items_sent_back_by_their_ids_have_no_more_bytes_than_a_body(
    client: httpx.AsyncClient, population: Population
) -> None:
    first = await respond(client, "a" * 30_000)
    asked = (await client.get(f"{PATH}/{first['id']}/input_items")).json()["data"]
    reference = {"type": "item_reference", "id": asked[0]["id"]}

    await respond(client, [reference] * 3)
    refused = await client.post(PATH, json={"model": "ada", "input": [reference] * 4})

    assert [len(text) for text in prompt_of(population)] == [30_000] * 3
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
    assert f"{BODY_BYTES_MAX} bytes" in refused.json()["error"]["message"]


async def test_a_turn_is_read_once_however_many_of_its_items_are_sent_back(
    client: httpx.AsyncClient, population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await respond(client, [{"role": "user", "content": str(number)} for number in range(20)])
    asked = (await client.get(f"{PATH}/{first['id']}/input_items", params={"order": "asc"})).json()["data"]
    rendered: list[Interaction] = []

    def counted(turn: Interaction) -> tuple[Item, ...]:
        rendered.append(turn)
        return items_of(turn)

    monkeypatch.setattr(turn_lookup, "items_of", counted)
    await respond(client, [{"type": "item_reference", "id": item["id"]} for item in asked])

    assert prompt_of(population) == [str(number) for number in range(20)]
    assert len(rendered) == 1


async def test_a_model_is_named_as_in_chats(client: httpx.AsyncClient, population: Population) -> None:
    named = {"ada@latest": None, "ada:peek": "asked", "ada@latest:peek": "asked", "ada@base": "revision"}
    for model, peek in named.items():
        made = await respond(client, model=model)
        assert (made["model"], made["populace"]["peek"], made["store"]) == (model, peek, peek is None)
    unknown = await client.post(PATH, json={"model": "ada@canary", "input": "hi"})

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "revision_not_found")
    assert len(await population.log("ada")) == 1


async def test_the_items_of_an_input_are_listed_in_parts(client: httpx.AsyncClient) -> None:
    first = await respond(client, "one", instructions="Be brief.")
    said = [{"role": "user", "content": text} for text in ("a", "b", "c")]
    made = await respond(client, said)
    again = await respond(client, "again", previous_response_id=first["id"])
    branch = await respond(client, "branch", previous_response_id=first["id"])
    path = f"{PATH}/{made['id']}/input_items"

    newest = (await client.get(path, params={"limit": 2})).json()
    rest = (await client.get(path, params={"limit": 2, "after": newest["last_id"]})).json()
    rising = (await client.get(path, params={"order": "asc"})).json()

    def texts(page: dict[str, Any]) -> list[str]:
        return [item.content[0].text for item in strict(ResponseItemList, page).data]

    assert (texts(newest), newest["has_more"]) == (["c", "b"], True)
    assert (texts(rest), rest["has_more"]) == (["a"], False)
    assert texts(rising) == ["a", "b", "c"]
    for one, text in ((first, "one"), (again, "again"), (branch, "branch")):
        assert texts((await client.get(f"{PATH}/{one['id']}/input_items")).json()) == [text]
    unknown = await client.get(path, params={"after": "msg_x"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "after")


async def test_what_a_tool_returned_in_a_chat_is_no_word_of_its_persons(
    client: httpx.AsyncClient, population: Population
) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "x", "content": "sunny"},
    ]
    await client.post("/v1/chat/completions", json={"model": "ada", "messages": messages})
    (turn,) = await population.log("ada")
    path = f"{PATH}/resp_ada_0_{turn.completion_id[-16:]}/input_items"

    items = (await client.get(path, params={"order": "asc"})).json()

    kinds = ["message", "function_call", "function_call_output"]
    assert [item.type for item in strict(ResponseItemList, items).data] == kinds
    await respond(client, items["data"])
    assert (await population.log("ada"))[1].messages == turn.messages


async def test_deleting_a_response_forgets_its_turn(
    client: httpx.AsyncClient, population: Population
) -> None:
    first = await respond(client, "a secret", metadata={"a": "secret too"})
    second = await respond(client, "two", previous_response_id=first["id"])

    gone = await client.delete(f"{PATH}/{first['id']}")

    assert gone.json() == {"id": first["id"], "object": "response", "deleted": True}
    log = await population.log("ada")
    assert "secret" not in repr(log[0])
    assert log[0].forgotten
    for method in ("GET", "DELETE"):
        assert (await client.request(method, f"{PATH}/{first['id']}")).status_code == 404
    await respond(client, "three", previous_response_id=second["id"])
    assert prompt_of(population) == ["two", "reply 2 to you", "three"]
    follower = await client.post(
        PATH, json={"model": "ada", "input": "and?", "previous_response_id": first["id"]}
    )
    assert follower.status_code == 404


async def test_a_branch_keeps_no_developer_item_that_a_deleted_response_had(
    client: httpx.AsyncClient, population: Population
) -> None:
    said = [{"role": "developer", "content": "a secret"}, {"role": "user", "content": "one"}]
    first = await respond(client, said)
    await respond(client, "two", previous_response_id=first["id"])
    assert prompt_of(population) == ["a secret", "one", "reply 1 to you", "two"]

    await respond(client, "another two", previous_response_id=first["id"])
    assert prompt_of(population) == ["one", "reply 1 to you", "another two"]

    await client.delete(f"{PATH}/{first['id']}")
    assert "secret" not in repr(await population.log("ada"))


async def test_nothing_runs_in_the_background_so_nothing_is_cancelled(client: httpx.AsyncClient) -> None:
    made = await respond(client, background=False)

    reply = await client.post(f"{PATH}/{made['id']}/cancel")

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "background")
    assert (await client.post(f"{PATH}/resp_x/cancel")).status_code == 404


async def test_a_response_of_another_tenant_and_of_a_namesake_is_not_found(
    client: httpx.AsyncClient, population: Population
) -> None:
    made = await respond(client)
    await population.create("ada", "globex")
    await population.create("bob")
    async with population.client("globex") as other:
        assert (await other.get(f"{PATH}/{made['id']}")).status_code == 404
        follower = await other.post(
            PATH, json={"model": "ada", "input": "hi", "previous_response_id": made["id"]}
        )
        assert follower.status_code == 404
    crossed = await client.post(
        PATH, json={"model": "bob", "input": "hi", "previous_response_id": made["id"]}
    )
    assert (crossed.status_code, crossed.json()["error"]["param"]) == (400, "previous_response_id")

    await client.delete("/v1/personal-models/ada")
    assert (await client.get(f"{PATH}/{made['id']}")).status_code == 404
    await population.create("ada")
    await respond(client)
    assert (await client.get(f"{PATH}/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    "identity",
    [
        "resp_",
        "resp_ada_0",
        "resp_ada_ffffffffffffffff_0123456789abcdef",
        "resp_ada_0_0123456789abcdeg",
        "chatcmpl-1",
        "resp_%00",
        "r" * 9000,
    ],
)
async def test_an_id_that_no_response_has_is_not_found(client: httpx.AsyncClient, identity: str) -> None:
    await respond(client)

    reply = await client.get(f"{PATH}/{identity}")

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")


async def test_an_idempotency_key_takes_effect_once(
    client: httpx.AsyncClient, population: Population
) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"model": "ada", "input": "hello", "metadata": {"a": "b"}}

    first, second = [(await client.post(PATH, json=body, headers=headers)).json() for _ in range(2)]
    streamed = await client.post(PATH, json={**body, "stream": True}, headers=headers)
    other = await client.post(PATH, json={**body, "previous_response_id": first["id"]}, headers=headers)

    assert (second["id"], second["output"]) == (first["id"], first["output"])
    assert read_events(streamed.text)[-1].response.id == first["id"]
    assert other.status_code == 409
    assert len(await population.log("ada")) == 1


async def test_a_stream_has_all_events_in_their_order(
    client: httpx.AsyncClient, population: Population
) -> None:
    events = await events_of(client, metadata={"a": "b"})

    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.delta for event in events[4:7]] == ["reply 1", " to", " you"]
    final = events[-1].response
    assert (final.output_text, final.id) == ("reply 1 to you", events[0].response.id)
    assert (final.output[0], final.output[0].id) == (events[-2].item, events[4].item_id)
    shown = await client.get(f"{PATH}/{final.id}")
    assert strict(Response, shown.json()).output == final.output
    assert len(await population.log("ada")) == 1


@pytest.mark.parametrize("options", [{"store": False}, {"model": "ada:peek"}, {"model": "base"}])
async def test_a_stream_of_what_is_not_stored_has_one_id(
    client: httpx.AsyncClient, options: dict[str, Any]
) -> None:
    events = await events_of(client, **options)

    begun, ended = events[0].response, events[-1].response
    assert (ended.id, ended.created_at) == (begun.id, begun.created_at)
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {ended.output[0].id}


async def test_a_stored_response_is_streamed_again(client: httpx.AsyncClient) -> None:
    made = await respond(client)

    whole = await client.get(f"{PATH}/{made['id']}", params={"stream": "true"})
    rest = await client.get(f"{PATH}/{made['id']}", params={"stream": "true", "starting_after": 4})
    unasked = await client.get(f"{PATH}/{made['id']}", params={"starting_after": 4})

    events = read_events(whole.text)
    assert events[4].delta == events[-1].response.output_text == "reply 1 to you"
    assert read_events(rest.text) == events[5:]
    assert (unasked.status_code, unasked.json()["error"]["param"]) == (400, "starting_after")


async def test_a_reply_that_breaks_off_is_incomplete(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.finish_reason = "length"

    made = strict(Response, await respond(client, max_output_tokens=3))
    events = await events_of(client)

    for response in (made, events[-1].response):
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert events[-1].type == "response.incomplete"
    assert strict(Response, (await client.get(f"{PATH}/{made.id}")).json()).status == "incomplete"


async def test_a_stream_that_fails_says_so_in_its_last_events(
    client: httpx.AsyncClient, population: Population
) -> None:
    population.engine.fail_before, population.engine.failure = 1, EngineUnavailable("it died")

    events = await events_of(client)

    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2].code == "engine_unavailable"
    assert (events[-1].response.status, events[-1].response.error.code) == ("failed", "server_error")
    assert [turn.answer for turn in await population.log("ada")] == [None]


async def test_a_refusal_before_the_first_token_has_a_status(
    client: httpx.AsyncClient, population: Population
) -> None:
    reply = await client.post(PATH, json={"model": "ada", "input": "long " * 2000, "stream": True})

    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "input")
    assert "lower max_output_tokens" in error["message"]
    assert error["request_id"]


async def test_an_input_that_is_sent_whole_is_read_from_its_newest_exchanges_on_and_says_so(
    client: httpx.AsyncClient, population: Population
) -> None:
    said = [{"role": role, "content": "word " * 60} for _ in range(20) for role in ("user", "assistant")]
    asked = {"input": [*said, {"role": "user", "content": "And?"}], "instructions": "Be kind."}

    whole = await respond(client, asked["input"], instructions="Be kind.")
    events = await events_of(client, **asked)

    read = prompt_of(population)
    assert (read[0], read[-1]) == ("Be kind.", "And?")
    for warnings in (whole["warnings"], events[-1].response.warnings):
        [warned] = warnings
        assert warned["param"] == "input"
        assert f"The oldest {len(said) - len(read) + 2} messages were left out" in warned["message"]
    items = await client.get(f"{PATH}/{whole['id']}/input_items", params={"limit": 100})
    assert len(items.json()["data"]) == len(read) - 1


@pytest.mark.parametrize("told", [{}, {"store": False}])
async def test_without_truncation_what_does_not_fit_is_refused_and_nothing_left_out(
    client: httpx.AsyncClient, population: Population, told: dict[str, Any]
) -> None:
    said = [{"role": role, "content": "word " * 60} for _ in range(20) for role in ("user", "assistant")]
    long = {"model": "ada", "input": [*said, {"role": "user", "content": "And?"}]}
    made = await respond(client, "word " * 200)
    for _ in range(2):
        made = await respond(client, "word " * 200, previous_response_id=made["id"], truncation="disabled")
    assert len(prompt_of(population)) == 5, "also turns that are over half of the context together"

    follows = {"model": "ada", "input": "word " * 500, "previous_response_id": made["id"]}
    for body in (long, follows):
        refused = await client.post(PATH, json={**body, **told, "truncation": "disabled"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert (await client.post(PATH, json={**body, "store": False})).status_code == 200
    assert len(await population.log("ada")) == 3


async def test_log_probabilities_are_included_if_asked_for(client: httpx.AsyncClient) -> None:
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    made = strict(Response, await respond(client, **asked))
    events = await events_of(client, **asked)

    rows = made.output[0].content[0].logprobs
    assert [(row.token, len(row.top_logprobs)) for row in rows] == [("reply 1", 2), (" to", 2), (" you", 2)]
    streamed = events[-1].response.output[0].content[0].logprobs
    assert [row.token for row in streamed] == ["reply 2", " to", " you"]
    assert [event.logprobs[0].token for event in events[4:7]] == ["reply 2", " to", " you"]


async def test_a_refusal_that_is_sent_back_is_what_was_said(
    client: httpx.AsyncClient, population: Population
) -> None:
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    again = {"role": "user", "content": "Why?"}

    await respond(client, [refused, again])
    reply = await client.post(PATH, json={"model": "ada", "input": [{**refused, "role": "user"}]})
    await client.post("/v1/chat/completions", json={"model": "ada", "messages": [refused, again]})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input[0]")
    assert [request.prompt for request in population.engine.requests] == [
        (Message("assistant", "No."), Message("user", "Why?"))
    ] * 2


async def test_a_reply_is_held_to_the_schema_of_its_text(
    client: httpx.AsyncClient, population: Population
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"type": "json_schema", "name": "place", "schema": schema}
    await respond(client, text={"format": form})
    await respond(client, text={"format": {"type": "json_object"}})
    await respond(client, text={"format": {"type": "text"}, "verbosity": "low"})

    held = [request.sampling.response_schema for request in population.engine.requests]
    assert json.loads(held[0] or "") == schema
    assert (held[1] is not None, held[2]) == (True, None)


async def test_hints_are_named_and_what_asks_for_nothing_is_accepted(client: httpx.AsyncClient) -> None:
    made = await respond(
        client,
        reasoning={"effort": "low"},
        user="u",
        tools=[],
        tool_choice="auto",
        max_tool_calls=3,
        include=["reasoning.encrypted_content"],
        stream_options=None,
        service_tier="auto",
        text={"verbosity": "low"},
        top_logprobs=3,
    )

    assert {warning["param"] for warning in made["warnings"]} == {
        "text.verbosity",
        "top_logprobs",
        "reasoning",
        "user",
        "service_tier",
        "max_tool_calls",
    }


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": [{"role": "user", "content": ""}], "instructions": "x"}, "input"),
    ({"input": None}, "input"),
    ({"input": [{"role": "user", "content": [[[[]]]]}]}, "input[0].content[0]"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
    ({"input": [{"type": "item_reference", "id": "msg_ada_0_0123456789abcdef_out"}]}, "input[0].id"),
    ({"input": [{"type": "item_reference"}]}, "input[0].id"),
    ({"input": [{"type": "telepathy"}]}, "input[0]"),
    ({"input": [{"type": 3, "role": "user", "content": "hi"}]}, "input[0].type"),
    ({"input": [{"role": "tool", "content": "hi"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": "hi", "weight": 1}]}, "input[0].weight"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input[0].content[0]",
    ),
    ({"background": True}, "background"),
    ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"include": ["everything"]}, "include[0]"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"truncation": "middle"}, "truncation"),
    ({"text": {"format": {"type": "xml"}}}, "text.format"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": 3}}}}, "text.format.schema"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"model": "population"}, "model"),
    ({"model": "population", "tools": [{"type": "function", "name": "a"}]}, "model"),
    ({"model": "m" * 513}, "model"),
    ({"model": "m\ud800"}, "model"),
    ({"input": [{"role": "user", "content": "hi"}] * 2048, "instructions": "x"}, "input"),
    ({"input": "\ud800"}, "input"),
    ({"model": "base", "conversation": "conv_1"}, "conversation"),
    ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "conversation"),
    ({"conversation": 3}, "conversation"),
    ({"messages": []}, "messages"),
]


@pytest.mark.parametrize(("options", "parameter"), REFUSED, ids=[str(one)[:60] for one, _ in REFUSED])
async def test_what_cannot_be_done_is_refused_by_name(
    client: httpx.AsyncClient, population: Population, options: dict[str, Any], parameter: str
) -> None:
    body = json.dumps({"model": "ada", "input": "hi", **options})  # in ASCII, so that surrogates arrive
    reply = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, parameter), reply.text
    assert await population.log("ada") == ()


class Place(BaseModel):
    city: str


async def test_the_official_client_streams_and_parses(ada: AsyncOpenAI, population: Population) -> None:
    async with ada.responses.stream(model="ada", input="hello") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    population.engine.reply = ('{"city": ', '"Ghent"}')
    parsed = await ada.responses.parse(
        model="ada", input="Where?", previous_response_id=final.id, text_format=Place
    )
    items = await ada.responses.input_items.list(parsed.id, limit=1)
    shown = await ada.responses.retrieve(parsed.id)
    await ada.responses.delete(parsed.id)

    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == "reply 1 to you"
    assert parsed.output_parsed == Place(city="Ghent")
    assert [item.type for item in items.data] == ["message"]
    assert shown.output_text == '{"city": "Ghent"}'
    assert [turn.forgotten for turn in await population.log("ada")] == [False, True, False]


async def test_what_the_official_client_parsed_is_sent_back_as_it_came(
    ada: AsyncOpenAI, population: Population
) -> None:
    population.engine.reply = ('{"city": "Ghent"}',)
    parsed = await ada.responses.parse(model="ada", input="where?", text_format=Place)
    chat = await ada.chat.completions.parse(
        model="ada", messages=[{"role": "user", "content": "where?"}], response_format=Place
    )
    items: Any = [item.model_dump(warnings=False) for item in parsed.output]
    said: Any = chat.choices[0].message.model_dump(warnings=False)
    asked: Any = {"role": "user", "content": "and?"}

    await ada.responses.create(model="ada", input=[*items, asked])
    await ada.chat.completions.create(model="ada", messages=[said, asked])

    for turn in (await population.log("ada"))[-2:]:
        assert [one.content for one in turn.messages] == ['{"city": "Ghent"}', "and?"]


async def test_a_client_that_leaves_mid_stream_leaves_a_message_that_can_be_read_and_gone_on_from(
    ada: AsyncOpenAI, population: Population
) -> None:
    population.engine.hold_before = 1
    stream = await ada.responses.create(model="ada", input="My dog is Rex.", stream=True)
    events = [await anext(stream) for _ in range(5)]
    begun: Any = events[0]
    await stream.close()
    await population.engine.wait_freed()
    population.engine.hold_before = None

    shown = await ada.responses.retrieve(begun.response.id)
    items = await ada.responses.input_items.list(begun.response.id)
    told = await ada.responses.retrieve(begun.response.id, stream=True)
    kinds = [event.type async for event in told]
    await ada.responses.create(model="ada", input="hello", previous_response_id=begun.response.id)

    assert events[-1].type == "response.output_text.delta"
    assert (shown.status, shown.output) == ("failed", [])
    assert shown.error is not None
    assert "no reply" in shown.error.message
    assert [item.content[0].text for item in items.data] == ["My dog is Rex."]  # type: ignore[union-attr]
    assert kinds == ["response.created", "response.in_progress", "error", "response.failed"]
    assert [said.content for said in population.engine.requests[-1].prompt] == [  # type: ignore[union-attr]
        "My dog is Rex.",
        "hello",
    ]
    assert [turn.answer is None for turn in await population.log("ada")] == [True, False]
