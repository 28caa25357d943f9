"""A reply that was ended as a loop is marked, is in the log as that, and is no part of the next prompt."""

import json
from typing import Any, cast

import httpx
import pytest
from openai import AsyncOpenAI

from populace.actors.engine import Message, SamplingDefaults
from tests.runtime.gateway.population import Population, chat_body

CHAT = "/v1/chat/completions"
GOOD = "Hello, Ada."
LOOP = "I am glad to have you both. "
BROKEN = f"{GOOD} {LOOP * 5}"


@pytest.fixture
def broken(population: Population) -> Population:
    population.engine.base = population.engine.base._replace(sampling=SamplingDefaults(ends_degenerate=True))
    population.engine.reply = (GOOD, " ", *[LOOP] * 5)
    population.engine.finish_reason = "repetition"
    return population


@pytest.mark.parametrize("model", ["ada", "ada:peek", "base"])
async def test_openais_clients_read_a_stop_and_a_mark_whole_and_streamed(
    broken: Population, model: str
) -> None:
    async with broken.client() as transport:
        client: Any = AsyncOpenAI(
            base_url="http://populace/v1", api_key=broken.keys["acme"], http_client=cast("Any", transport)
        )
        asked = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        whole = await client.chat.completions.create(**asked)
        chunks: list[Any] = [
            chunk async for chunk in await client.chat.completions.create(**asked, stream=True)
        ]
        response = await client.responses.create(model=model, input="hi")

    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (BROKEN, "stop")
    assert chunks[-1].choices[0].finish_reason == "stop"
    for made in (whole, chunks[-1], response):
        assert made.model_dump()["populace"]["degenerate"] == "repetition"
    assert response.status == "completed"
    assert [request.sampling.ends_degenerate for request in broken.engine.requests] == [True] * 3


async def test_the_log_says_so_and_a_retry_too(broken: Population, client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = (await client.post(CHAT, json=chat_body(), headers=key)).json()
    again = (await client.post(CHAT, json=chat_body(), headers=key)).json()
    log = (await client.get("/v1/personal-models/ada/interactions")).json()["data"]

    assert [turn["finish_reason"] for turn in log] == ["repetition"]
    assert log[0]["reply"] == BROKEN
    assert (first["populace"]["degenerate"], again["populace"]["degenerate"]) == ("repetition", "repetition")
    assert again["choices"] == first["choices"]


@pytest.mark.parametrize(("model", "is_sent"), [("ada", False), ("ada", True), ("base", True)])
async def test_the_next_prompt_has_what_was_good_of_it(
    broken: Population, client: httpx.AsyncClient, model: str, is_sent: bool
) -> None:
    sent = {} if is_sent else {"conversation": "main"}
    await client.post(CHAT, json=chat_body("hi", model=model, **sent))
    broken.engine.reply, broken.engine.finish_reason = ("Yes.",), "stop"
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": BROKEN}]
    asked = chat_body("and you?", model=model, **sent)
    asked["messages"] = [*(history if is_sent else []), *asked["messages"]]

    assert (await client.post(CHAT, json=asked)).status_code == 200

    read = broken.engine.requests[-1].prompt
    assert [one for one in read if isinstance(one, Message) and one.role == "assistant"] == [
        Message("assistant", GOOD)
    ]


@pytest.mark.parametrize("options", [{"repetition_detection": {}}, {"ignore_eos": True}])
async def test_a_request_may_have_its_reply_go_on(
    broken: Population, client: httpx.AsyncClient, options: dict[str, Any]
) -> None:
    reply = await client.post(CHAT, json=chat_body(**options))

    assert reply.status_code == 200
    assert not broken.engine.requests[-1].sampling.ends_degenerate
    assert json.loads(reply.text)["choices"][0]["finish_reason"] == "stop"
