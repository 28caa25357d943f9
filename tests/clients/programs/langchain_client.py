"""LangChain's ``ChatOpenAI`` and ``OpenAIEmbeddings``."""

from typing import Any, Literal

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field
from scenarios import (
    FIRST,
    MODEL,
    SECOND,
    SYSTEM,
    TOOL,
    TOOL_NAME,
    TOOL_QUESTION,
    WEATHER,
    Turns,
    filled,
    run_scenarios,
    scenario,
)

model = ChatOpenAI(model=MODEL, temperature=0, max_tokens=16, max_retries=0)
longer = ChatOpenAI(model=MODEL, temperature=0, max_tokens=60, max_retries=0)
MESSAGES: list[Any] = [SystemMessage(SYSTEM), HumanMessage(FIRST)]


class Cat(BaseModel):
    """A cat."""

    name: str = Field(max_length=12)
    colour: Literal["black", "white"]


@scenario("invoke, two turns")
def two_turns(turns: Turns) -> None:
    first = model.invoke(MESSAGES)
    turns.append(filled(first.text))
    second = model.invoke([*MESSAGES, first, HumanMessage(SECOND)])
    turns.append(filled(second.text))
    assert second.usage_metadata is not None


@scenario("stream, with usage")
def stream(turns: Turns) -> None:
    chunks = list(ChatOpenAI(model=MODEL, temperature=0, max_tokens=16, stream_usage=True).stream(MESSAGES))
    turns.append(filled("".join(chunk.text for chunk in chunks)))
    assert any(chunk.usage_metadata for chunk in chunks)


@scenario("log probabilities")
def log_probabilities(turns: Turns) -> None:
    reply = model.bind(logprobs=True, top_logprobs=2).invoke(MESSAGES)
    turns.append(filled(reply.text))
    assert reply.response_metadata["logprobs"]["content"]


@scenario("with_structured_output, `json_schema`")
def structured(turns: Turns) -> None:
    answer = longer.with_structured_output(Cat, method="json_schema", include_raw=True).invoke(MESSAGES)
    assert isinstance(answer["parsed"], Cat), answer
    turns.append(answer["raw"].text)


@scenario("with_structured_output, `function_calling`")
def structured_by_tool(turns: Turns) -> None:
    answer = longer.with_structured_output(Cat, method="function_calling", include_raw=True).invoke(MESSAGES)
    assert isinstance(answer["parsed"], Cat), answer
    turns.append(None)


@scenario('bind_tools with `tool_choice="any"`, its result and the answer')
def tools(turns: Turns) -> None:
    question = HumanMessage(TOOL_QUESTION)
    called = longer.bind_tools([TOOL], tool_choice="any", parallel_tool_calls=False).invoke([question])
    assert isinstance(called, AIMessage)
    [call] = called.tool_calls
    assert call["name"] == TOOL_NAME
    turns.append(None)
    result = ToolMessage(WEATHER, tool_call_id=call["id"])
    answer = model.bind_tools([TOOL], tool_choice="none").invoke([question, called, result])
    turns.append(filled(answer.text))


@scenario("bind_tools, the choice left to the model")
def tools_auto(turns: Turns) -> None:
    reply = longer.bind_tools([TOOL]).invoke([HumanMessage(TOOL_QUESTION)])
    turns.append(None if reply.tool_calls else filled(reply.text))


@scenario("the Responses API, two turns by `previous_response_id`")
def responses(turns: Turns) -> None:
    speaker = ChatOpenAI(model=MODEL, temperature=0, max_tokens=16, use_responses_api=True, max_retries=0)
    first = speaker.invoke(FIRST)
    turns.append(filled(first.text))
    second = speaker.invoke(SECOND, previous_response_id=first.response_metadata["id"])
    turns.append(filled(second.text))


@scenario("the Responses API, a stream")
def responses_stream(turns: Turns) -> None:
    speaker = ChatOpenAI(model=MODEL, temperature=0, max_tokens=16, use_responses_api=True, max_retries=0)
    turns.append(filled("".join(chunk.text for chunk in speaker.stream(FIRST))))


@scenario("embeddings of texts (`check_embedding_ctx_length=False`)")
def embeddings(turns: Turns) -> None:
    vectors = OpenAIEmbeddings(model="base", check_embedding_ctx_length=False, max_retries=0)
    assert len(vectors.embed_documents([FIRST, SECOND])) == 2


if __name__ == "__main__":
    run_scenarios()
