"""LiteLLM, with its provider ``openai/`` for servers that speak OpenAI's API."""

import json
from typing import Any, Literal

import litellm
from pydantic import BaseModel, Field
from scenarios import (
    API_KEY,
    BASE_URL,
    FIRST,
    MODEL,
    SECOND,
    SYSTEM,
    TOOL,
    TOOL_NAME,
    TOOL_QUESTION,
    WEATHER,
    Turns,
    arguments_of,
    filled,
    run_scenarios,
    scenario,
)

litellm.suppress_debug_info = True
SERVER: dict[str, Any] = {
    "model": f"openai/{MODEL}",
    "api_base": BASE_URL,
    "api_key": API_KEY,
    "max_retries": 0,
}
SHORT: dict[str, Any] = SERVER | {"max_tokens": 16, "temperature": 0}
LONGER: dict[str, Any] = SHORT | {"max_tokens": 60}
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": FIRST}]


class Cat(BaseModel):
    name: str = Field(max_length=12)
    colour: Literal["black", "white"]


@scenario("completion, two turns; the reply's message is sent back as it came")
def two_turns(turns: Turns) -> None:
    first: Any = litellm.completion(messages=MESSAGES, **SHORT)
    turns.append(filled(first.choices[0].message.content))
    history = [*MESSAGES, first.choices[0].message, {"role": "user", "content": SECOND}]
    second: Any = litellm.completion(messages=history, **SHORT)
    turns.append(filled(second.choices[0].message.content))
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


@scenario("completion, a stream with usage")
def stream(turns: Turns) -> None:
    parts: Any = litellm.completion(
        messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **SHORT
    )
    chunks = list(parts)
    turns.append(filled("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)))
    assert any(getattr(chunk, "usage", None) for chunk in chunks)


@scenario("completion, `response_format` with a pydantic class")
def structured(turns: Turns) -> None:
    reply: Any = litellm.completion(messages=MESSAGES, response_format=Cat, **LONGER)
    text = reply.choices[0].message.content
    Cat.model_validate(json.loads(text))
    turns.append(text)


@scenario("completion, `reasoning_effort` and `top_k`")
def extras(turns: Turns) -> None:
    reply: Any = litellm.completion(
        messages=MESSAGES,
        top_k=5,
        reasoning_effort="low",
        allowed_openai_params=["reasoning_effort"],
        **SHORT,
    )
    turns.append(filled(reply.choices[0].message.content))


@scenario("completion, a required call of a tool, its result and the answer")
def tools(turns: Turns) -> None:
    question = {"role": "user", "content": TOOL_QUESTION}
    called: Any = litellm.completion(
        messages=[question], tools=[TOOL], tool_choice="required", parallel_tool_calls=False, **LONGER
    )
    message = called.choices[0].message
    [call] = message.tool_calls
    assert call.function.name == TOOL_NAME
    arguments_of(call.function.arguments)
    turns.append(None)
    result = {"role": "tool", "tool_call_id": call.id, "content": WEATHER}
    answer: Any = litellm.completion(
        messages=[question, message, result], tools=[TOOL], tool_choice="none", **SHORT
    )
    turns.append(filled(answer.choices[0].message.content))


@scenario("completion, tools with the choice left to the model")
def tools_auto(turns: Turns) -> None:
    reply: Any = litellm.completion(
        messages=[{"role": "user", "content": TOOL_QUESTION}], tools=[TOOL], **LONGER
    )
    message = reply.choices[0].message
    turns.append(None if message.tool_calls else filled(message.content))


@scenario("text_completion")
def text(turns: Turns) -> None:
    reply: Any = litellm.text_completion(
        prompt="Once upon a time", **SHORT | {"model": f"text-completion-openai/{MODEL}"}
    )
    turns.append(filled(reply.choices[0].text))


@scenario("responses, two turns by `previous_response_id`")
def responses(turns: Turns) -> None:
    short = SERVER | {"max_output_tokens": 16, "temperature": 0}
    first: Any = litellm.responses(input=FIRST, **short)
    turns.append(filled(first.output_text))
    second: Any = litellm.responses(input=SECOND, previous_response_id=first.id, **short)
    turns.append(filled(second.output_text))


@scenario("embedding")
def embeddings(turns: Turns) -> None:
    embedded: Any = litellm.embedding(input=[FIRST, SECOND], **SERVER | {"model": "openai/base"})
    assert len(embedded.data) == 2


if __name__ == "__main__":
    run_scenarios()
