"""Text completions of several prompts, of token ids, and with what the engine read of them."""

from typing import Any

import httpx
import pytest

from tests.runtime.gateway.population import Population
from tests.runtime.gateway.test_answers import events_of

TEXT = "/v1/completions"


def text_body(prompt: object, model: str = "base", **options: Any) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, **options}


def choices_of(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the choice in each event of a stream."""
    events: list[dict[str, Any]] = events_of(response)
    return [event["choices"][0] for event in events]


async def completion(client: httpx.AsyncClient, prompt: object, **options: Any) -> dict[str, Any]:
    reply = await client.post(TEXT, json=text_body(prompt, **options))
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("one two", ["one two"]),
        (["one two", "three"], ["one two", "three"]),
        ([5, 6], [(5, 6)]),
        ([[5, 6], [7]], [(5, 6), (7,)]),
    ],
    ids=str,
)
async def test_a_prompt_is_a_text_or_tokens_or_several(
    client: httpx.AsyncClient, population: Population, prompt: object, read: list[object]
) -> None:
    reply = await completion(client, prompt)

    assert [request.prompt for request in population.engine.requests] == read
    assert [choice["index"] for choice in reply["choices"]] == list(range(len(read)))


async def test_the_replies_to_the_first_prompt_come_first_and_every_prompt_counts_once(
    client: httpx.AsyncClient, population: Population
) -> None:
    reply = await completion(client, ["one two", "three"], n=2, seed=5)

    asked = [(request.prompt, request.sampling.seed) for request in population.engine.requests]
    assert asked == [("one two", 5), ("one two", 6), ("three", 5), ("three", 6)]
    assert [choice["text"][:7] for choice in reply["choices"]] == [f"reply {n}" for n in (1, 2, 3, 4)]
    assert reply["usage"] == {"prompt_tokens": 3, "completion_tokens": 12, "total_tokens": 15}


async def test_more_prompts_than_the_engine_has_places_are_all_answered(client: httpx.AsyncClient) -> None:
    reply = await completion(client, ["word"] * 40)

    assert len({choice["text"] for choice in reply["choices"]}) == 40


@pytest.mark.parametrize("prompt", [["one", "two"], [5, 6], [[5]]], ids=str)
async def test_a_person_reads_what_the_log_cannot_hold_and_records_nothing(
    client: httpx.AsyncClient, population: Population, prompt: object
) -> None:
    reply = await completion(client, prompt, model="ada")

    assert [warning["param"] for warning in reply["warnings"]] == ["prompt"]
    assert reply["populace"]["log_position"] is None
    assert await population.log("ada") == ()
    assert (await completion(client, "three", model="ada"))["populace"]["log_position"] == 0


@pytest.mark.parametrize("model", ["base", "ada"])
async def test_an_echo_begins_with_the_prompt_and_only_the_reply_is_recorded(
    client: httpx.AsyncClient, population: Population, model: str
) -> None:
    reply = await completion(client, "once upon", model=model, echo=True)

    assert reply["choices"][0]["text"] == "once uponreply 1 to you"
    assert reply["choices"][0]["logprobs"] is None
    assert [turn.reply for turn in await population.log("ada")] == ["reply 1 to you"] * (model == "ada")


async def test_tokens_are_echoed_as_their_text(client: httpx.AsyncClient) -> None:
    reply = await completion(client, [5, 6], echo=True)

    assert reply["choices"][0]["text"] == "<5><6>reply 1 to you"


@pytest.mark.parametrize("model", ["base", "ada"])
async def test_a_text_is_scored_without_a_reply(
    client: httpx.AsyncClient, population: Population, model: str
) -> None:
    reply = await completion(client, "once upon", model=model, echo=True, max_tokens=0, logprobs=1)

    [choice] = reply["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("once upon", "length")
    assert choice["logprobs"] == {
        "tokens": ["once", " upon"],
        "token_logprobs": [None, -0.25],
        "top_logprobs": [None, {" upon": -0.25, "other": -1.5}],
        "text_offset": [0, 4],
    }
    assert reply["usage"]["completion_tokens"] == 0
    assert await population.log("ada") == ()


async def test_an_echo_is_streamed_first(client: httpx.AsyncClient) -> None:
    reply = await client.post(TEXT, json=text_body("once upon", echo=True, logprobs=0, stream=True))

    choices = choices_of(reply)
    assert [choice["text"] for choice in choices] == ["once uponreply 1", " to", " you"]
    assert [choice["logprobs"]["text_offset"] for choice in choices] == [[0, 4, 9], [16], [19]]


async def test_log_probabilities_of_the_prompt_have_vllms_shape(client: httpx.AsyncClient) -> None:
    reply = await completion(client, "once upon", prompt_logprobs=2)

    upon = {"logprob": -0.25, "rank": 1, "decoded_token": " upon"}
    other = {"logprob": -1.5, "rank": 2, "decoded_token": "other"}
    assert reply["choices"][0]["prompt_logprobs"] == [None, {"101": upon, "99": other}]


async def test_token_ids_come_with_what_they_are_of(client: httpx.AsyncClient) -> None:
    body = text_body("once upon", return_token_ids=True, logprobs=1, return_tokens_as_token_ids=True)

    [choice] = (await client.post(TEXT, json=body)).json()["choices"]
    streamed = await client.post(TEXT, json={**body, "stream": True})

    assert (choice["prompt_token_ids"], choice["token_ids"]) == ([100, 101], [0, 1, 2])
    assert choice["logprobs"]["tokens"] == ["token_id:0", "token_id:1", "token_id:2"]
    parts = choices_of(streamed)
    assert [part["token_ids"] for part in parts] == [[0], [1], [2]]
    assert [part.get("prompt_token_ids") for part in parts] == [[100, 101], None, None]


async def test_a_chat_tells_the_prompt_that_its_template_made(client: httpx.AsyncClient) -> None:
    body = {
        "model": "ada",
        "messages": [{"role": "user", "content": "hi"}],
        "return_prompt_text": True,
        "return_token_ids": True,
    }
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    first, *_ = events_of(await client.post("/v1/chat/completions", json={**body, "stream": True}))

    for told in (whole, first):
        assert told["prompt_text"] == "<Message(role='user', content='hi')>"
        assert told["prompt_token_ids"] == [100]
    assert whole["choices"][0]["token_ids"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"prompt": [5, "a"]}, "prompt[1]"),
        ({"prompt": [5, -1]}, "prompt[1]"),
        ({"prompt": [[5], []]}, "prompt[1]"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": ["a"] * 2049}, "prompt"),
        ({"max_tokens": 0}, "echo"),
        ({"keep": 0, "prompt": ["a", "b"], "n": 0}, "n"),
    ],
    ids=str,
)
async def test_a_wrong_prompt_is_refused_by_name(
    client: httpx.AsyncClient, population: Population, fields: dict[str, Any], parameter: str
) -> None:
    reply = await client.post(TEXT, json={**text_body("once", model="ada"), **fields})

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, parameter)
    assert population.engine.requests == []
