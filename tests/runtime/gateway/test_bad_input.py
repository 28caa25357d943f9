"""Whatever the body is, the answer names what is wrong with it; nothing is created and nothing fails."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.gateway.population import BODY_BYTES_MAX, Population, chat_body

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def chat_text(**fields: str) -> bytes:
    """Write a chat body whose fields are raw JSON text."""
    written = {"model": '"ada"', "messages": '[{"role": "user", "content": "hi"}]', **fields}
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in written.items()) + "}").encode()


UNREADABLE: dict[bytes, str] = {
    b"": "The body is empty: send a JSON object.",
    b"{": "The body is not valid JSON: Expecting property name enclosed in double quotes (character 1).",
    b"[]": "The body must be a JSON object.",
    b'"text"': "The body must be a JSON object.",
    b"null": "The body is empty: send a JSON object.",
    b'{"model": "\xff"}': "The body could not be read: it must be JSON in UTF-8, not nested too deeply.",
    b"[" * 50_000: "The body could not be read: it must be JSON in UTF-8, not nested too deeply.",
    chat_text(**{r"\ud800": "1"}): (
        "The body has a parameter whose name is not valid Unicode: it holds a lone surrogate."
    ),
    chat_text(
        seed="1" * 5000
    ): "The body could not be read: it must be JSON in UTF-8, not nested too deeply.",
}


@pytest.mark.parametrize("body", UNREADABLE, ids=range(len(UNREADABLE)))
async def test_an_unreadable_body_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    reply = await client.post(CHAT, content=body, headers=JSON)

    assert (reply.status_code, reply.json()["error"]["message"]) == (400, UNREADABLE[body])


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [(None, "no Content-Type"), ("text/plain", "Content-Type text/plain")],
)
async def test_a_body_that_is_not_called_json_is_told_what_to_send(
    client: httpx.AsyncClient, content_type: str | None, sent: str
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    reply = await client.post(CHAT, content=chat_text(), headers=headers)

    message = f"The body came with {sent}: send it with `Content-Type: application/json`."
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, message)


WRONG: list[tuple[dict[str, str], str, str]] = [
    ({"tool": "[]"}, "tool", "Unknown parameter: `tool`."),
    ({"tools": '[{"type": "function"}]'}, "tools[0].function", "Missing required parameter"),
    ({"min_p": "1.5"}, "min_p", "Input should be less than or equal to 1"),
    ({"top_k": "-2"}, "top_k", "Input should be greater than or equal to -1"),
    ({"repetition_penalty": "0"}, "repetition_penalty", "Input should be greater than or equal to 0.01"),
    ({"logit_bias": '{"hello": 1}'}, "logit_bias.hello.[key]", "String should match pattern"),
    ({"logit_bias": '{"7": "much"}'}, "logit_bias.7", "Input should be a valid number"),
    ({"stop_token_ids": "[-1]"}, "stop_token_ids[0]", "Input should be greater than or equal to 0"),
    ({"stream": "true", "prompt_logprobs": "1"}, "prompt_logprobs", "a stream has none"),
    ({"chat_template_kwargs": '"fast"'}, "chat_template_kwargs", "Input should be a valid dictionary"),
    ({"temperature": '"hot"'}, "temperature", "Input should be a valid number"),
    ({"temperature": "2.01"}, "temperature", "Input should be less than or equal to 2"),
    ({"temperature": "-1"}, "temperature", "Input should be greater than or equal to 0"),
    ({"temperature": "NaN"}, "temperature", "Input should be"),
    ({"top_p": "0"}, "top_p", "Input should be greater than 0"),
    ({"top_p": "Infinity"}, "top_p", "Input should be"),
    ({"frequency_penalty": "1e999"}, "frequency_penalty", "Input should be"),
    ({"n": "0"}, "n", "Input should be greater than or equal to 1"),
    ({"n": "17"}, "n", "Input should be less than or equal to 16"),
    ({"n": "2", "keep": "2"}, "keep", "it must be less than `n`"),
    ({"stream": '"yes"'}, "stream", "Input should be a valid boolean"),
    ({"stream_options": '{"include_usage": true}'}, "stream_options", "it needs `stream: true`"),
    (
        {"stream": "true", "stream_options": '{"continuous_usage_stats": true}'},
        "stream_options.continuous_usage_stats",
        "it needs `include_usage: true`",
    ),
    ({"max_tokens": "0"}, "max_tokens", "Input should be greater than or equal to 1"),
    ({"max_tokens": "1" + "0" * 30}, "max_tokens", "Input should be less than or equal to 2147483647"),
    ({"max_tokens": "1.5"}, "max_tokens", "Input should be a valid integer"),
    ({"seed": "1" + "0" * 30}, "seed", "Input should be less than 9223372036854775808"),
    ({"stop": '""'}, "stop", "String should have at least 1 character"),
    ({"stop": '["a", ""]'}, "stop[1]", "String should have at least 1 character"),
    ({"stop": str([*"abcdefghijklmnopq"]).replace("'", '"')}, "stop", "List should have at most 16 items"),
    ({"stop": "5"}, "stop", "Input should be a text or a list"),
    ({"top_logprobs": "2"}, "top_logprobs", "it needs `logprobs: true`"),
    ({"logprobs": "true", "top_logprobs": "21"}, "top_logprobs", "Input should be less than or equal to 20"),
    ({"logprobs": "3"}, "logprobs", "Input should be a valid boolean"),
    ({"instructions_first": "-1"}, "instructions_first", "Input should be greater than or equal to 0"),
    ({"instructions_first": "1"}, "instructions_first", "The first 1 messages are not system messages"),
    (
        {"messages": '[{"role": "system", "content": "x"}]', "instructions_first": "1"},
        "instructions_first",
        "before the others",
    ),
    ({"memory": '{"reed": true}'}, "memory.reed", "Unknown parameter"),
    ({"memory": '{"read": "yes"}'}, "memory.read", "Input should be a valid boolean"),
    ({"memory": "true"}, "memory", "Input should be a valid dictionary"),
    ({"messages": "[]"}, "messages", "List should have at least 1 item"),
    ({"messages": '"hi"'}, "messages", "Input should be a valid list"),
    ({"messages": "[7]"}, "messages[0]", "Input should be a valid dictionary"),
    ({"messages": '[{"role": "user"}]'}, "messages[0].content", "Missing required parameter"),
    ({"messages": '[{"role": "god", "content": "x"}]'}, "messages[0].role", "Input should be 'system'"),
    ({"messages": '[{"role": "user", "content": 5}]'}, "messages[0].content", "a text or a list"),
    ({"messages": '[{"role": "user", "content": null}]'}, "messages[0].content", "a text or a list"),
    ({"messages": '[{"role": "user", "content": []}]'}, "messages[0].content", "at least 1 item"),
    (
        {"messages": '[{"role": "user", "content": [{"type": "image_url", "text": ""}]}]'},
        "messages[0].content[0]",
        "a part of the type image_url is not read: messages are text alone",
    ),
    (
        {"messages": '[{"role": "user", "content": [{"type": "song"}]}]'},
        "messages[0].content[0].type",
        "'text'",
    ),
    (
        {"messages": '[{"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]}]'},
        "messages[0].tool_calls[0].function",
        "Missing required parameter",
    ),
    (
        {"messages": '[{"role": "assistant", "content": "a", "refusal": "No."}]'},
        "messages[0].refusal",
        "Unknown parameter",
    ),
    (
        {"messages": '[{"role": "user", "content": null, "refusal": "No."}]'},
        "messages[0].content",
        "a text or a list",
    ),
    (
        {"messages": '[{"role": "user", "content": [{"type": "refusal", "refusal": "No."}]}]'},
        "messages[0]",
        "only a message of the role assistant has parts of the type refusal",
    ),
    (
        {"messages": '[{"role": "assistant", "content": [{"type": "refusal", "refusal": 3}]}]'},
        "messages[0].content[0].refusal",
        "valid string",
    ),
    ({"messages": '[{"role": null, "content": "a"}]'}, "messages[0].role", "Input should be 'system'"),
    ({"messages": r'[{"role": "user", "content": "\ud800"}]'}, "messages[0].content", "valid"),
    ({"model": "7"}, "model", "Input should be a valid string"),
    ({"model": '""'}, "model", "at least 1 character"),
    ({"model": '"' + "m" * 513 + '"'}, "model", "at most 512 characters"),
    ({"stop": r'["\ud800"]'}, "stop[0]", "valid"),
    ({"conversation": '"' + "c" * 513 + '"'}, "conversation", "513 characters, more than 512"),
]


@pytest.mark.parametrize(("fields", "parameter", "message"), WRONG, ids=lambda value: str(value)[:30])
async def test_a_wrong_parameter_is_refused_by_name(
    client: httpx.AsyncClient, population: Population, fields: dict[str, str], parameter: str, message: str
) -> None:
    reply = await client.post(CHAT, content=chat_text(**fields), headers=JSON)

    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["code"]) == (400, parameter, "invalid_request")
    assert message in error["message"]
    assert parameter in error["message"]
    assert population.engine.requests == []


async def test_a_missing_parameter_is_named(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json={"model": "ada"})

    assert reply.json()["error"]["message"] == "Missing required parameter: `messages`."


async def test_a_message_does_not_echo_megabytes(client: httpx.AsyncClient) -> None:
    reply = await client.post(CHAT, json={**chat_body(), "x" * 90_000: 1})

    assert reply.status_code == 400
    assert len(reply.content) < 4000


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/personal-models"])
async def test_a_declared_body_over_the_limit_is_413(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.post(path, content=b" " * (BODY_BYTES_MAX + 1), headers=JSON)

    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "request_too_large"


async def test_a_body_of_exactly_the_limit_is_read(client: httpx.AsyncClient) -> None:
    body = chat_text()
    reply = await client.post(CHAT, content=body + b" " * (BODY_BYTES_MAX - len(body)), headers=JSON)

    assert reply.status_code == 200


async def test_a_text_completion_refuses_an_empty_prompt(client: httpx.AsyncClient) -> None:
    prompts: tuple[Any, ...] = ("", [], [""], [[]], None, 5)
    for prompt in prompts:
        reply = await client.post("/v1/completions", json={"model": "ada", "prompt": prompt})

        error = reply.json()["error"]
        assert (reply.status_code, error["param"][:6]) == (400, "prompt")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["ada", "ada@latest", "base", "user", "text", "../x", "a\0b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": VALUES},
    )
)
BODIES = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["ada", "ada@latest", "base", "nobody"]) | VALUES,
        "messages": MESSAGES | VALUES,
        "prompt": VALUES,
        "name": VALUES,
        "stop": VALUES,
        "temperature": VALUES,
        "max_tokens": VALUES,
        "seed": VALUES,
        "stream": st.booleans() | VALUES,
        "logprobs": VALUES,
        "metadata": VALUES,
    },
)


def test_random_json_never_breaks_the_gateway(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        population = runner.run(Population.start(tmp_path / "store"))
        runner.run(population.create("ada"))

        @settings(max_examples=150, deadline=None, derandomize=True)
        @given(st.sampled_from([CHAT, "/v1/completions", "/v1/personal-models"]), BODIES)
        def check(path: str, body: Any) -> None:
            reply = runner.run(post(population, path, body))

            assert reply.status_code in {200, 201, 400, 404, 409}

        check()
        population.close()


async def post(population: Population, path: str, body: Any) -> httpx.Response:
    async with population.client() as client:
        return await client.post(path, json=body)
