"""The official client, unmodified, against the real server."""

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.limits import HANG_SECONDS
from tests.runtime.gateway.population import MAILBOX_MAX, Population
from tests.runtime.gateway.scripted_engine import BASE

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def ada(population: Population, url: str) -> AsyncGenerator[AsyncOpenAI, None]:
    """Acme's client. It does not retry, so that a test sees the first answer."""
    async with AsyncOpenAI(
        api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0, timeout=HANG_SECONDS
    ) as client:
        yield client


async def test_a_chat(ada: AsyncOpenAI) -> None:
    reply = await ada.chat.completions.create(model="ada", messages=MESSAGES)

    assert reply.choices[0].message.content == "reply 1 to you"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 3
    assert reply.model_extra is not None
    assert reply.model_extra["populace"]["base"] == BASE.fingerprint


async def test_a_second_turn_sends_the_first_reply_back_as_it_came(
    ada: AsyncOpenAI, population: Population
) -> None:
    messages: list[ChatCompletionMessageParam] = [*MESSAGES]
    first = await ada.chat.completions.create(model="ada", messages=messages)

    messages.append(first.choices[0].message)  # pyright: ignore[reportArgumentType]
    messages.append({"role": "user", "content": "and again"})
    second = await ada.chat.completions.create(model="ada", messages=messages)

    assert second.choices[0].message.content == "reply 2 to you"
    assert [turn.messages[-1].content for turn in await population.log("ada")] == ["hello", "and again"]


@pytest.mark.parametrize(
    "empty",
    [
        {"refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": []},
        {"name": None, "reasoning_content": "", "provider_specific_fields": {}},
    ],
)
async def test_what_a_client_sends_back_empty_with_a_reply_carries_nothing(
    ada: AsyncOpenAI, population: Population, empty: dict[str, object]
) -> None:
    parts = [{"type": "text", "text": "hi", **empty}]
    echoed = cast("ChatCompletionMessageParam", {"role": "assistant", "content": parts, **empty})
    body = [*MESSAGES, echoed, *MESSAGES]

    await ada.chat.completions.create(model="ada", messages=body)

    (turn,) = await population.log("ada")
    assert [(one.role, one.content) for one in turn.messages] == [
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", "hello"),
    ]


async def test_a_stream(ada: AsyncOpenAI) -> None:
    stream = await ada.chat.completions.create(model="ada", messages=MESSAGES, stream=True)

    texts = [chunk.choices[0].delta.content async for chunk in stream]

    assert texts == ["reply 1", " to", " you"]


async def test_a_stream_with_usage(ada: AsyncOpenAI) -> None:
    stream = await ada.chat.completions.create(
        model="ada", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )

    chunks = [chunk async for chunk in stream]

    assert [chunk.usage is not None for chunk in chunks] == [False, False, False, True]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert chunks[-1].choices == []


async def test_the_last_chunk_comes_after_the_commit(ada: AsyncOpenAI, population: Population) -> None:
    population.engine.hold_before = 2
    stream = await ada.chat.completions.create(model="ada", messages=MESSAGES, stream=True)
    recorded: list[list[bool]] = []

    async for chunk in stream:
        recorded.append([turn.answer is not None for turn in await population.log("ada")])
        if chunk.choices[0].delta.content == " to":
            population.engine.gate.set()

    assert recorded == [[False], [False], [True]]


async def test_a_token_arrives_before_the_next_is_made(ada: AsyncOpenAI, population: Population) -> None:
    population.engine.hold_before = 1
    stream = await ada.chat.completions.create(model="ada", messages=MESSAGES, stream=True)

    first = await anext(stream)

    assert first.choices[0].delta.content == "reply 1"
    assert not population.engine.gate.is_set()
    population.engine.gate.set()
    await stream.close()


async def test_text_that_confuses_line_splitters_arrives_whole(
    ada: AsyncOpenAI, population: Population
) -> None:
    population.engine.ending = ("\u2028\u2029\x85\x1c\x0b\r\n", "data: [DONE]\n\n", "🎈 \0 é", "\ud800")
    stream = await ada.chat.completions.create(model="base", messages=MESSAGES, stream=True)

    texts = [chunk.choices[0].delta.content async for chunk in stream]

    assert texts == ["reply 1", *population.engine.ending]


async def test_a_text_completion(ada: AsyncOpenAI) -> None:
    reply = await ada.completions.create(model="ada", prompt="once", logprobs=1)

    assert reply.choices[0].text == "reply 1 to you"
    assert reply.choices[0].logprobs is not None
    assert reply.choices[0].logprobs.text_offset == [0, 7, 10]


async def test_a_streamed_text_completion(ada: AsyncOpenAI) -> None:
    stream = await ada.completions.create(model="base", prompt="once", stream=True)

    assert [chunk.choices[0].text async for chunk in stream] == ["reply 1", " to", " you"]


async def test_log_probabilities_of_a_stream(ada: AsyncOpenAI) -> None:
    stream = await ada.chat.completions.create(
        model="ada", messages=MESSAGES, stream=True, logprobs=True, top_logprobs=1
    )

    rows = [chunk.choices[0].logprobs async for chunk in stream]

    assert [row.content[0].token for row in rows if row and row.content] == ["reply 1", " to", " you"]


async def test_models(ada: AsyncOpenAI) -> None:
    listed = await ada.models.list()
    shown = await ada.models.retrieve("ada@latest")

    assert [model.id for model in listed.data] == ["base", "population", "ada", "ada:peek"]
    assert shown.id == "ada@latest"
    assert shown.owned_by == "acme"


async def test_an_idempotency_key(ada: AsyncOpenAI, population: Population) -> None:
    first, second = [
        await ada.chat.completions.create(
            model="ada", messages=MESSAGES, extra_headers={"Idempotency-Key": "k"}
        )
        for _ in range(2)
    ]

    assert second.id == first.id
    assert second.choices == first.choices
    assert len(await population.log("ada")) == 1


async def test_turns_are_retrieved_by_a_parameter_that_the_client_does_not_know(
    ada: AsyncOpenAI, population: Population
) -> None:
    await ada.chat.completions.create(model="ada", messages=MESSAGES)

    reply = await ada.chat.completions.create(
        model="ada",
        messages=[{"role": "user", "content": "Hello, hello?"}],
        extra_body={"context": {"retrieve": 3}},
    )

    assert reply.model_extra is not None
    assert reply.model_extra["populace"]["retrieved"] == [0]
    assert "- hello" in str(population.engine.requests[-1].prompt[0])


async def test_a_conflict_is_not_retried(population: Population, url: str) -> None:
    async with AsyncOpenAI(api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=5) as client:
        headers = {"Idempotency-Key": "k"}
        await client.chat.completions.create(model="ada", messages=MESSAGES, extra_headers=headers)
        with pytest.raises(openai.ConflictError) as raised:
            await client.chat.completions.create(
                model="ada", messages=MESSAGES, seed=1, extra_headers=headers
            )

    assert raised.value.code == "operation_conflict"


async def test_errors_are_the_clients_own(ada: AsyncOpenAI, population: Population, url: str) -> None:
    create = ada.chat.completions.create

    with pytest.raises(openai.NotFoundError) as absent:
        await create(model="nobody", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError) as wrong:
        await create(model="ada", messages=MESSAGES, temperature=9)
    with pytest.raises(openai.BadRequestError) as long:
        await create(model="ada", messages=[{"role": "user", "content": "word " * 1000}])
    async with AsyncOpenAI(api_key="sk-wrong", base_url=f"{url}/v1", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await stranger.chat.completions.create(model="ada", messages=MESSAGES)
    population.engine.failure = ZeroDivisionError()
    with pytest.raises(openai.InternalServerError) as broken:
        await create(model="ada", messages=MESSAGES)

    assert absent.value.code == "model_not_found"
    assert (wrong.value.code, wrong.value.param) == ("invalid_request", "temperature")
    assert long.value.code == "context_length_exceeded"
    assert unknown.value.code == "invalid_api_key"
    assert broken.value.code == "internal_error"


async def test_a_full_mailbox_is_a_rate_limit(ada: AsyncOpenAI, population: Population) -> None:
    population.engine.hold_before = 1
    replies = [
        asyncio.create_task(ada.chat.completions.create(model="ada", messages=MESSAGES))
        for _ in range(1 + MAILBOX_MAX)
    ]
    await population.wait_waiting(MAILBOX_MAX)

    with pytest.raises(openai.RateLimitError) as refused:
        await ada.chat.completions.create(model="ada", messages=MESSAGES, stream=True)

    assert refused.value.code == "mailbox_full"
    assert int(refused.value.response.headers["retry-after"]) >= 1
    population.engine.gate.set()
    await asyncio.gather(*replies)


async def test_an_error_in_mid_stream_is_raised(ada: AsyncOpenAI, population: Population) -> None:
    population.engine.fail_before = 1
    population.engine.failure = ZeroDivisionError()
    stream = await ada.chat.completions.create(model="ada", messages=MESSAGES, stream=True)
    first = await anext(stream)

    with pytest.raises(openai.APIError) as raised:
        await anext(stream)

    assert first.choices[0].delta.content == "reply 1"
    assert raised.value.code == "internal_error"


async def test_the_blocking_client(population: Population, url: str) -> None:
    def talk() -> tuple[str | None, list[str | None], list[str]]:
        with OpenAI(api_key=population.keys["acme"], base_url=f"{url}/v1", max_retries=0) as client:
            whole = client.chat.completions.create(model="ada", messages=MESSAGES)
            stream = client.chat.completions.create(model="ada", messages=MESSAGES, stream=True)
            texts = [chunk.choices[0].delta.content for chunk in stream]
            return whole.choices[0].message.content, texts, [model.id for model in client.models.list()]

    answer = await asyncio.to_thread(talk)

    assert answer == ("reply 1 to you", ["reply 2", " to", " you"], ["base", "population", "ada", "ada:peek"])
