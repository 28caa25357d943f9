"""``n`` replies to one prompt: in OpenAI's shape, and only the one that is named gets into the log."""

from typing import Any

import httpx
import pytest

from tests.runtime.gateway.population import Population, chat_body
from tests.runtime.gateway.test_answers import events_of

CHAT = "/v1/chat/completions"


def texts_of(reply: dict[str, Any]) -> list[str]:
    assert [choice["index"] for choice in reply["choices"]] == list(range(len(reply["choices"])))
    return [choice["message"]["content"] for choice in reply["choices"]]


async def test_every_choice_is_answered_and_none_is_recorded(
    client: httpx.AsyncClient, population: Population
) -> None:
    reply = (await client.post(CHAT, json=chat_body(n=3))).json()

    assert texts_of(reply) == [f"reply {number} to you" for number in (1, 2, 3)]
    assert reply["usage"]["completion_tokens"] == 9
    assert reply["populace"]["log_position"] is None
    assert await population.log("ada") == ()


@pytest.mark.parametrize("keep", [0, 2])
async def test_the_choice_that_is_named_is_recorded(
    client: httpx.AsyncClient, population: Population, keep: int
) -> None:
    answer = await client.post(CHAT, json=chat_body(n=3, keep=keep))

    [turn] = await population.log("ada")
    assert turn.reply == texts_of(answer.json())[keep]
    assert answer.headers["x-populace-log-position"] == "0"


@pytest.mark.parametrize("keep", [None, 1])
async def test_a_stream_has_all_choices(
    client: httpx.AsyncClient, population: Population, keep: int | None
) -> None:
    body = chat_body(n=2, stream=True, stream_options={"include_usage": True}, keep=keep)
    answer = await client.post(CHAT, json=body)

    events: list[dict[str, Any]] = events_of(answer)
    assert events.pop()["usage"]["completion_tokens"] == 6
    said: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for event in events:
        [choice] = event["choices"]
        said[choice["index"]].append(choice)
    for number, choices in said.items():
        assert "".join(choice["delta"]["content"] for choice in choices) == f"reply {number + 1} to you"
        assert choices[0]["delta"]["role"] == "assistant"
        assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    logged = [turn.reply for turn in await population.log("ada")]
    assert logged == ([] if keep is None else ["reply 2 to you"])
    assert ("x-populace-log-position" in answer.headers) == (keep is not None)


async def test_a_text_is_continued_in_several_ways(client: httpx.AsyncClient) -> None:
    reply = (await client.post("/v1/completions", json={"model": "ada", "prompt": "One", "n": 2})).json()

    assert [choice["text"] for choice in reply["choices"]] == ["reply 1 to you", "reply 2 to you"]


async def test_the_base_answers_several_too(client: httpx.AsyncClient) -> None:
    reply = (await client.post(CHAT, json=chat_body(model="base", n=2, logprobs=True))).json()

    assert len(set(texts_of(reply))) == 2
    assert all(len(choice["logprobs"]["content"]) == 3 for choice in reply["choices"])


@pytest.mark.parametrize(
    ("body", "headers", "param"),
    [
        (chat_body(n=2, keep=2), {}, "keep"),
        (chat_body(keep=1), {}, "keep"),
        (chat_body(n=17), {}, "n"),
        (chat_body(model="base", n=2, keep=0), {}, "keep"),
        (chat_body(n=2), {"Idempotency-Key": "k"}, "n"),
    ],
)
async def test_what_cannot_be_kept_is_refused_by_name(
    client: httpx.AsyncClient, population: Population, body: Any, headers: dict[str, str], param: str
) -> None:
    answer = await client.post(CHAT, json=body, headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert population.engine.requests == []
