"""A chat is answered from the log's own words, says what made it, and is recorded before it ends."""

import json
from typing import Any, cast

import httpx
import pytest

from populace.actors.engine import Message
from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.scripted_engine import BASE


def events_of(response: httpx.Response) -> list[dict[str, object]]:
    """Parse a complete stream, whose last event is ``[DONE]``."""
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def test_a_reply_names_revision_log_position_and_base(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json=chat_body("first"))

    reply = await client.post("/v1/chat/completions", json=chat_body("second"))

    assert reply.status_code == 200
    assert reply.headers["x-populace-revision"] == "base"
    assert reply.headers["x-populace-log-position"] == "1"
    assert reply.headers["x-populace-base"] == BASE.fingerprint
    made_with = reply.json()["populace"]
    assert made_with.pop("operation").startswith("auto-")
    assert made_with == {
        "revision": "base",
        "base": BASE.fingerprint,
        "log_position": 1,
        "memory_version": 0,
        "replayed": False,
        "retrieved": [],
        "memory": None,
        "conversation": None,
        "peek": None,
        "degenerate": None,
    }


async def test_a_reply_has_openais_shape(client: httpx.AsyncClient, population: Population) -> None:
    reply = (await client.post("/v1/chat/completions", json=chat_body("how are you"))).json()

    (turn,) = await population.log("ada")
    del reply["populace"]
    prompt_tokens = turn.prompt_tokens
    assert reply == {
        "id": turn.completion_id,
        "object": "chat.completion",
        "created": reply["created"],
        "model": "ada",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": None,
                "message": {"role": "assistant", "content": "reply 1 to you", "refusal": None},
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": 3,
            "total_tokens": prompt_tokens + 3,
        },
    }


async def test_what_was_said_is_in_the_log(client: httpx.AsyncClient, population: Population) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    messages = [{"role": "developer", "content": "be kind"}, {"role": "user", "content": parts}]
    await client.post("/v1/chat/completions", json={"model": "ada", "messages": messages})

    (turn,) = await population.log("ada")

    assert turn.messages == (("system", "be kind"), ("user", "one two"))
    assert turn.reply == "reply 1 to you"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "n": 2}),
        ("/v1/completions", {"prompt": "hi"}),
    ],
)
async def test_each_chunk_has_the_usage_so_far_if_that_is_asked_for(
    client: httpx.AsyncClient, path: str, more: dict[str, Any]
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True, "include_obfuscation": False}
    body = {"model": "ada", "stream": True, "stream_options": options, **more}
    keyed = {} if "n" in more else {"Idempotency-Key": "k"}

    *chunks, last = cast("list[Any]", events_of(await client.post(path, json=body, headers=keyed)))
    counted: dict[int, list[int]] = {}
    for chunk in chunks:
        usage = chunk["usage"]
        counted.setdefault(chunk["choices"][0]["index"], []).append(usage["completion_tokens"])
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    assert list(counted.values()) == [[1, 2, 3]] * more.get("n", 1)
    assert last["usage"]["completion_tokens"] == 3 * more.get("n", 1)
    if keyed:
        replayed, _ = events_of(await client.post(path, json=body, headers=keyed))
        assert replayed["usage"] == last["usage"]


async def test_a_stream_has_openais_shape(client: httpx.AsyncClient, population: Population) -> None:
    body = chat_body("hi", stream=True, stream_options={"include_usage": True})
    reply = await client.post("/v1/chat/completions", json=body)

    (turn,) = await population.log("ada")
    events = events_of(reply)
    choices = [event.pop("choices") for event in events]
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["x-populace-log-position"] == "0"
    assert choices == [
        [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "reply 1"},
                "finish_reason": None,
                "logprobs": None,
            }
        ],
        [{"index": 0, "delta": {"content": " to"}, "finish_reason": None, "logprobs": None}],
        [{"index": 0, "delta": {"content": " you"}, "finish_reason": "stop", "logprobs": None}],
        [],
    ]
    assert {event.pop("id") for event in events} == {turn.completion_id}
    assert len({event.pop("created") for event in events}) == 1
    assert {event.pop("model") for event in events} == {"ada"}
    assert {event.pop("object") for event in events} == {"chat.completion.chunk"}
    made_with: dict[str, object] = {
        "revision": "base",
        "base": BASE.fingerprint,
        "log_position": 0,
        "memory_version": 0,
        "operation": turn.operation,
        "replayed": False,
        "retrieved": [],
        "memory": None,
        "conversation": None,
        "peek": None,
        "degenerate": None,
    }
    tokens = turn.prompt_tokens
    usage = {"prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3}
    assert events == [{}, {}, {"populace": made_with}, {"usage": usage}]


async def test_a_stream_of_one_token_is_complete(client: httpx.AsyncClient, population: Population) -> None:
    population.engine.ending = ()

    reply = await client.post("/v1/chat/completions", json=chat_body(stream=True))

    (event,) = events_of(reply)
    assert event["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "reply 1"},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]


async def test_a_text_completion_reads_the_prompt_as_it_is(
    client: httpx.AsyncClient, population: Population
) -> None:
    reply = (
        await client.post("/v1/completions", json={"model": "ada", "prompt": "once", "logprobs": 1})
    ).json()

    assert population.engine.requests[0].prompt == "once"
    assert population.engine.requests[0].sampling.max_tokens == 16
    assert reply["object"] == "text_completion"
    assert reply["choices"] == [
        {
            "index": 0,
            "text": "reply 1 to you",
            "finish_reason": "stop",
            "logprobs": {
                "tokens": ["reply 1", " to", " you"],
                "token_logprobs": [-0.5, -0.5, -0.5],
                "top_logprobs": [
                    {"reply 1": -0.5, "other": -1.5},
                    {" to": -0.5, "other": -1.5},
                    {" you": -0.5, "other": -1.5},
                ],
                "text_offset": [0, 7, 10],
            },
        }
    ]


async def test_streamed_text_offsets_count_from_the_start_of_the_reply(client: httpx.AsyncClient) -> None:
    body = {"model": "ada", "prompt": "once", "logprobs": 0, "stream": True}
    reply = await client.post("/v1/completions", json=body)

    offsets = [event["choices"][0]["logprobs"]["text_offset"] for event in events_of(reply)]  # type: ignore[index]

    assert offsets == [[0], [7], [10]]


@pytest.mark.parametrize("model", ["ada", "base"])
async def test_log_probabilities_are_answered_whole(client: httpx.AsyncClient, model: str) -> None:
    body = chat_body(model=model, logprobs=True, top_logprobs=2)
    reply = await client.post("/v1/chat/completions", json=body)

    rows = reply.json()["choices"][0]["logprobs"]["content"]

    assert [row["token"] for row in rows] == ["reply 1", " to", " you"]
    assert rows[1] == {
        "token": " to",
        "logprob": -0.5,
        "bytes": [32, 116, 111],
        "top_logprobs": [
            {"token": " to", "logprob": -0.5, "bytes": [32, 116, 111]},
            {"token": "other", "logprob": -1.5, "bytes": [111, 116, 104, 101, 114]},
        ],
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_the_base_answers_and_records_nothing(
    client: httpx.AsyncClient, population: Population, stream: bool
) -> None:
    reply = await client.post("/v1/chat/completions", json=chat_body(model="base", stream=stream))

    made_with = events_of(reply)[-1]["populace"] if stream else reply.json()["populace"]
    assert reply.headers["x-populace-base"] == BASE.fingerprint
    assert "x-populace-log-position" not in reply.headers
    assert made_with == {
        "revision": "base",
        "base": BASE.fingerprint,
        "log_position": None,
        "memory_version": None,
        "operation": None,
        "replayed": False,
        "retrieved": None,
        "memory": None,
        "conversation": None,
        "peek": None,
        "degenerate": None,
    }
    assert await population.log("ada") == ()


async def test_an_explicit_null_means_the_default(client: httpx.AsyncClient, population: Population) -> None:
    names = ("stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "n")
    body = chat_body(**dict.fromkeys(names), frequency_penalty=None, presence_penalty=None, logprobs=None)
    await client.post("/v1/chat/completions", json=body)
    await client.post("/v1/chat/completions", json=chat_body())

    with_nulls, without = population.engine.requests

    assert with_nulls.sampling == without.sampling


async def test_a_name_of_a_message_is_in_no_prompt_and_the_reply_says_so(
    client: httpx.AsyncClient, population: Population
) -> None:
    prompts: list[Any] = []
    for names in ({}, {"name": "ann"}, {"name": "bob"}):
        body = chat_body(messages=[{"role": "user", "content": "hi", **names}])
        reply = await client.post("/v1/chat/completions", json=body)
        warned = [warning["param"] for warning in reply.json().get("warnings", [])]
        assert warned == (["messages.name"] if names else [])
        prompts.append(population.engine.requests[-1].prompt)

    assert prompts == [(Message("user", "hi"),)] * 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["ada", "ada:peek"])
async def test_a_chat_that_is_sent_whole_is_read_from_its_newest_exchanges_on_and_says_so(
    client: httpx.AsyncClient, population: Population, stream: bool, model: str
) -> None:
    system = {"role": "system", "content": "Be kind."}
    told = [
        {"role": role, "content": f"{at} " + " ".join(f"word{n}" for n in range(60))}
        for at in range(20)
        for role in ("user", "assistant")
    ]
    asked = {"role": "user", "content": "And?"}
    body = chat_body(model=model, messages=[system, *told, asked], stream=stream, user="u-1")

    reply = await client.post("/v1/chat/completions", json=body)

    assert reply.status_code == 200, reply.text
    prompt = population.engine.requests[-1].prompt
    read = [said._asdict() for said in prompt if isinstance(said, Message)]
    left_out = len(told) - len(read) + 2
    assert read == [system, *told[left_out:], asked]
    assert 12 <= len(read) <= 16, "most of the context is used, and a quarter is left for the reply"
    last: dict[str, Any] = events_of(reply)[-1] if stream else reply.json()
    assert [warned["param"] for warned in last["warnings"]] == ["user", "messages"]
    assert f"The oldest {left_out} messages were left out" in last["warnings"][1]["message"]
    logged = [[said.content for said in turn.messages] for turn in await population.log("ada")]
    assert logged == ([[said["content"] for said in read]] if model == "ada" else [])
