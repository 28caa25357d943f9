"""OpenAI's Agents SDK over both of its APIs; its own default is the Responses API."""

import asyncio
from typing import Annotated, Any, Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from scenarios import (
    FIRST,
    MODEL,
    SECOND,
    SYSTEM,
    TOOL_QUESTION,
    WEATHER,
    Turns,
    filled,
    run_scenarios,
    scenario,
)

set_tracing_disabled(disabled=True)


class Cat(BaseModel):
    name: str = Field(max_length=12)
    colour: Literal["black", "white"]


@function_tool
def get_weather(city: Annotated[str, Field(max_length=12)]) -> str:
    """Return the weather of a city."""
    assert isinstance(city, str)
    return WEATHER


def agent(api: str, *, max_tokens: int = 16, tool_choice: str | None = None, **more: Any) -> Agent:
    # Each run has an event loop of its own, and so it needs its own connections.
    client = AsyncOpenAI(max_retries=0)
    model = (OpenAIResponsesModel if api == "responses" else OpenAIChatCompletionsModel)(MODEL, client)
    parallel = False if "tools" in more else None
    settings = ModelSettings(
        temperature=0, max_tokens=max_tokens, tool_choice=tool_choice, parallel_tool_calls=parallel
    )
    return Agent(name="Ada", instructions=SYSTEM, model=model, model_settings=settings, **more)


async def streamed(speaker: Agent) -> str:
    run = Runner.run_streamed(speaker, FIRST)
    async for _ in run.stream_events():
        pass
    return run.final_output


def two_turns_of(api: str, turns: Turns) -> None:
    speaker = agent(api)
    first = asyncio.run(Runner.run(speaker, FIRST))
    turns.append(filled(first.final_output))
    history = [*first.to_input_list(), {"role": "user", "content": SECOND}]
    turns.append(filled(asyncio.run(Runner.run(agent(api), history)).final_output))


def structured_of(api: str, turns: Turns) -> None:
    run = asyncio.run(Runner.run(agent(api, max_tokens=60, output_type=Cat), FIRST))
    assert isinstance(run.final_output, Cat)
    # The SDK keeps the raw reply beside what it made of it.
    turns.append(run.raw_responses[-1].output[-1].content[0].text)


def tool_of(api: str, turns: Turns, *, choice: str | None, then: str) -> None:
    speaker = agent(api, max_tokens=60, tool_choice=choice, tools=[get_weather], tool_use_behavior=then)
    run = asyncio.run(Runner.run(speaker, TOOL_QUESTION))
    turns.extend(None for _ in run.raw_responses)
    assert choice is None or run.final_output == WEATHER, run.final_output


@scenario("chat completions, two turns")
def chat_two_turns(turns: Turns) -> None:
    two_turns_of("chat", turns)


@scenario("chat completions, a stream")
def chat_stream(turns: Turns) -> None:
    turns.append(filled(asyncio.run(streamed(agent("chat")))))


@scenario("chat completions, `output_type` with a pydantic class")
def chat_structured(turns: Turns) -> None:
    structured_of("chat", turns)


@scenario("chat completions, a required call of a tool, which ends the run")
def chat_tool(turns: Turns) -> None:
    tool_of("chat", turns, choice="required", then="stop_on_first_tool")


@scenario("chat completions, tools with the choice left to the model")
def chat_tool_auto(turns: Turns) -> None:
    tool_of("chat", turns, choice=None, then="run_llm_again")


@scenario("responses, two turns")
def responses_two_turns(turns: Turns) -> None:
    two_turns_of("responses", turns)


@scenario("responses, two turns by `previous_response_id`")
def responses_chained(turns: Turns) -> None:
    first = asyncio.run(Runner.run(agent("responses"), FIRST))
    turns.append(filled(first.final_output))
    second = Runner.run(agent("responses"), SECOND, previous_response_id=first.last_response_id)
    turns.append(filled(asyncio.run(second).final_output))


@scenario("responses, a stream")
def responses_stream(turns: Turns) -> None:
    # The SDK takes a streamed reply that was cut off for a failure.
    turns.append(filled(asyncio.run(streamed(agent("responses", max_tokens=200)))))


@scenario("responses, `output_type` with a pydantic class")
def responses_structured(turns: Turns) -> None:
    structured_of("responses", turns)


@scenario("responses, a required call of a tool, which ends the run")
def responses_tool(turns: Turns) -> None:
    tool_of("responses", turns, choice="required", then="stop_on_first_tool")


@scenario("responses, a required call of a tool, its result and the answer, by `previous_response_id`")
def responses_tool_chained(turns: Turns) -> None:
    calling = agent("responses", max_tokens=60, tool_choice="required", tools=[get_weather])
    calling.tool_use_behavior = "stop_on_first_tool"
    run = asyncio.run(Runner.run(calling, TOOL_QUESTION))
    turns.append(None)
    result = run.to_input_list()[-1]
    assert result["type"] == "function_call_output"
    # The SDK takes a reply that was cut off for a failure.
    answering = agent("responses", max_tokens=200)
    answer = Runner.run(answering, [result], previous_response_id=run.last_response_id)
    turns.append(filled(asyncio.run(answer).final_output))


@scenario("responses, a streamed call of a tool")
def responses_tool_streamed(turns: Turns) -> None:
    calling = agent("responses", max_tokens=60, tool_choice="required", tools=[get_weather])
    calling.tool_use_behavior = "stop_on_first_tool"
    assert asyncio.run(streamed(calling)) == WEATHER
    turns.append(None)


@scenario("responses, two turns in an `OpenAIConversationsSession`")
def responses_session(turns: Turns) -> None:
    async def talk() -> None:
        client = AsyncOpenAI(max_retries=0)
        conversation = await client.conversations.create(metadata={"model": MODEL})
        session = OpenAIConversationsSession(conversation_id=conversation.id, openai_client=client)
        turns.append(None)
        for said in (FIRST, SECOND):
            reply = (await Runner.run(agent("responses"), said, session=session)).final_output
            # The session adds what was said before the turn, and the reply after it.
            turns.extend([None, filled(reply), None])
        assert len(await session.get_items()) == 4
        await session.pop_item()
        assert len(await session.get_items()) == 3
        turns.append(None)

    asyncio.run(talk())


if __name__ == "__main__":
    run_scenarios()
