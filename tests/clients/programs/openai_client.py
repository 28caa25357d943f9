"""The official client: chat, streams, schemas, tools, responses, files, fine-tuning and what is refused."""

import json
import time
from typing import Any, Literal

from openai import OpenAI
from pydantic import BaseModel, Field
from scenarios import (
    FIRST,
    MODEL,
    SECOND,
    SYSTEM,
    TOOL,
    TOOL_NAME,
    TOOL_QUESTION,
    TOOL_SCHEMA,
    TOOL_TEXT,
    WEATHER,
    Turns,
    arguments_of,
    filled,
    run_scenarios,
    scenario,
)

client = OpenAI(max_retries=0)
chat: Any = client.chat.completions
MESSAGES: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": FIRST}]
SHORT: dict[str, Any] = {"model": MODEL, "max_tokens": 16, "temperature": 0}
RESPONSE_TOOL: Any = {
    "type": "function",
    "name": TOOL_NAME,
    "description": TOOL_TEXT,
    "parameters": TOOL_SCHEMA,
    "strict": True,
}


class Cat(BaseModel):
    name: str = Field(max_length=12)
    colour: Literal["black", "white"]


@scenario("models: list and retrieve")
def models(turns: Turns) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


@scenario("chat, two turns; the reply's message is sent back as it came")
def two_turns(turns: Turns) -> None:
    first = chat.create(messages=MESSAGES, **SHORT)
    turns.append(filled(first.choices[0].message.content))
    history = [*MESSAGES, first.choices[0].message, {"role": "user", "content": SECOND}]
    second = chat.create(messages=history, **SHORT)
    turns.append(filled(second.choices[0].message.content))
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


@scenario("chat, a stream with usage")
def stream(turns: Turns) -> None:
    chunks = list(
        chat.create(messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **SHORT)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    turns.append(filled(text))
    assert chunks[-1].usage.completion_tokens > 0


@scenario("chat, the helper `chat.completions.stream`")
def stream_helper(turns: Turns) -> None:
    with chat.stream(messages=MESSAGES, **SHORT) as events:
        kinds = [event.type for event in events]
    turns.append(filled(events.get_final_completion().choices[0].message.content))
    assert "content.delta" in kinds
    assert kinds[-1] == "content.done" or "content.done" in kinds


@scenario("chat, log probabilities")
def log_probabilities(turns: Turns) -> None:
    choice = chat.create(messages=MESSAGES, logprobs=True, top_logprobs=2, **SHORT).choices[0]
    turns.append(filled(choice.message.content))
    assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)


@scenario("chat, `parse` with a pydantic class")
def parse(turns: Turns) -> None:
    completion = chat.parse(messages=MESSAGES, response_format=Cat, **SHORT | {"max_tokens": 60})
    turns.append(completion.choices[0].message.content)
    assert isinstance(completion.choices[0].message.parsed, Cat)


@scenario("chat, the name of another maker's model")
def of_another_maker(turns: Turns) -> None:
    chat.create(messages=MESSAGES, **SHORT | {"model": "gpt-4o"})


@scenario("chat, a name that no model has, which the first request creates")
def created(turns: Turns) -> None:
    chat.create(messages=MESSAGES, **SHORT | {"model": f"{MODEL}-new"})
    assert client.models.retrieve(f"{MODEL}-new").owned_by


@scenario("chat, an image")
def image(turns: Turns) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    chat.create(messages=[{"role": "user", "content": [{"type": "text", "text": FIRST}, picture]}], **SHORT)


@scenario("chat, a peek (`MODEL:peek`) leaves no turn")
def peek(turns: Turns) -> None:
    filled(chat.create(messages=MESSAGES, **SHORT | {"model": f"{MODEL}:peek"}).choices[0].message.content)


@scenario("completions, a text")
def text(turns: Turns) -> None:
    completion = client.completions.create(prompt="Once upon a time", **SHORT)
    turns.append(filled(completion.choices[0].text))


@scenario("tools, a required call, its result and the answer")
def tool_required(turns: Turns) -> None:
    question = {"role": "user", "content": TOOL_QUESTION}
    called = chat.create(
        messages=[question],
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        **SHORT | {"max_tokens": 60},
    ).choices[0]
    assert called.finish_reason == "tool_calls"
    [call] = called.message.tool_calls
    assert call.function.name == TOOL_NAME
    arguments_of(call.function.arguments)
    turns.append(None)
    result = {"role": "tool", "tool_call_id": call.id, "content": WEATHER}
    answer = chat.create(
        messages=[question, called.message, result], tools=[TOOL], tool_choice="none", **SHORT
    )
    turns.append(filled(answer.choices[0].message.content))


@scenario("tools, a streamed call of a named tool")
def tool_streamed(turns: Turns) -> None:
    named = {"type": "function", "function": {"name": TOOL_NAME}}
    with chat.stream(
        messages=[{"role": "user", "content": TOOL_QUESTION}],
        # The helper takes no other tools.
        tools=[{**TOOL, "function": {**TOOL["function"], "strict": True}}],
        tool_choice=named,
        **SHORT | {"max_tokens": 60},
    ) as events:
        for _ in events:
            pass
    [call] = events.get_final_completion().choices[0].message.tool_calls
    arguments_of(call.function.arguments)
    turns.append(None)


@scenario("tools, the choice left to the model (`auto`)")
def tool_auto(turns: Turns) -> None:
    message = (
        chat.create(
            messages=[{"role": "user", "content": TOOL_QUESTION}], tools=[TOOL], **SHORT | {"max_tokens": 60}
        )
        .choices[0]
        .message
    )
    turns.append(None if message.tool_calls else filled(message.content))


RESPONSE: dict[str, Any] = {"model": MODEL, "max_output_tokens": 16, "temperature": 0}
responses: Any = client.responses


@scenario("responses, two turns by `previous_response_id`")
def responses_two_turns(turns: Turns) -> None:
    first = responses.create(input=FIRST, instructions=SYSTEM, **RESPONSE)
    turns.append(filled(first.output_text))
    assert responses.retrieve(first.id).output_text == first.output_text
    second = responses.create(input=SECOND, previous_response_id=first.id, **RESPONSE)
    turns.append(filled(second.output_text))
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.output_tokens


@scenario("responses, the helper `responses.stream`")
def responses_stream(turns: Turns) -> None:
    # The helper has a final response only if the reply came to its end.
    whole = RESPONSE | {"instructions": SYSTEM, "max_output_tokens": 200}
    with responses.stream(input=FIRST, **whole) as events:
        kinds = [event.type for event in events]
    turns.append(filled(events.get_final_response().output_text))
    assert kinds[0] == "response.created"
    assert "response.output_text.delta" in kinds


@scenario("responses, `parse` with a pydantic class")
def responses_parse(turns: Turns) -> None:
    response = responses.parse(input=FIRST, text_format=Cat, **RESPONSE | {"max_output_tokens": 60})
    turns.append(response.output_text)
    assert isinstance(response.output_parsed, Cat)


FORCED: dict[str, Any] = RESPONSE | {
    "tools": [RESPONSE_TOOL],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_output_tokens": 60,
}


def result_of(call: Any) -> dict[str, str]:
    arguments_of(call.arguments)
    return {"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}


@scenario("responses, a required call of a tool, its result alone and the answer")
def responses_tool(turns: Turns) -> None:
    called = responses.create(input=TOOL_QUESTION, **FORCED)
    [call] = called.output
    turns.append(None)
    answer = responses.create(
        input=[result_of(call)],
        previous_response_id=called.id,
        tools=[RESPONSE_TOOL],
        tool_choice="none",
        **RESPONSE,
    )
    turns.append(filled(answer.output_text))
    [returned] = responses.input_items.list(answer.id).data
    assert returned.call_id == call.call_id


@scenario("responses, a streamed call of a tool")
def responses_tool_streamed(turns: Turns) -> None:
    with responses.stream(input=TOOL_QUESTION, **FORCED) as events:
        kinds = [event.type for event in events]
    [call] = events.get_final_response().output
    arguments_of(call.arguments)
    turns.append(None)
    assert "response.function_call_arguments.delta" in kinds


@scenario("conversations, two turns and their items; the metadata `model` says with whom")
def conversations(turns: Turns) -> None:
    conversation = client.conversations.create(metadata={"model": MODEL})
    # The log keeps what the conversation is in a turn in which nothing is said.
    turns.append(None)
    for said in (FIRST, SECOND):
        response = responses.create(input=said, conversation=conversation.id, **RESPONSE)
        turns.append(filled(response.output_text))
    assert len(list(client.conversations.items.list(conversation.id))) == 4


@scenario("conversations, items that are added, a call in one and its result")
def conversation_items(turns: Turns) -> None:
    said: Any = [{"role": "user", "content": FIRST}, {"role": "assistant", "content": "Hello, Minka."}]
    conversation = client.conversations.create(metadata={"model": MODEL}, items=said[:1])
    client.conversations.items.create(conversation.id, items=said[1:])
    # The log keeps the conversation and what was added as turns in which nothing was said.
    turns.extend([None, None, None])
    [call] = responses.create(input=TOOL_QUESTION, conversation=conversation.id, **FORCED).output
    turns.append(None)
    answer = responses.create(input=[result_of(call)], conversation=conversation.id, **RESPONSE)
    turns.append(filled(answer.output_text))
    kinds = [item.type for item in client.conversations.items.list(conversation.id, order="asc")]
    assert kinds == [*["message"] * 3, "function_call", "function_call_output", "message"]


@scenario("embeddings")
def embeddings(turns: Turns) -> None:
    embedded = client.embeddings.create(model="base", input=[FIRST, SECOND])
    assert len(embedded.data) == 2


EXAMPLES = [
    {
        "messages": [
            {"role": "user", "content": f"Who has {n} cats?"},
            {"role": "assistant", "content": "Ada."},
        ]
    }
    for n in range(12)
]
UPLOAD = ("cats.jsonl", "".join(json.dumps(example) + "\n" for example in EXAMPLES).encode())


@scenario("files, upload, list, content and delete")
def files(turns: Turns) -> None:
    uploaded = client.files.create(file=UPLOAD, purpose="fine-tune")
    assert uploaded.bytes == len(UPLOAD[1])
    assert uploaded.id in [file.id for file in client.files.list()]
    assert client.files.content(uploaded.id).read() == UPLOAD[1]
    assert client.files.delete(uploaded.id).deleted


@scenario("fine-tuning, from a file to its end, with events")
def fine_tuning(turns: Turns) -> None:
    uploaded = client.files.create(file=UPLOAD, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="base",
        suffix=f"{MODEL}-cats",
        training_file=uploaded.id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 10}}},
    )
    while job.status in ("validating_files", "queued", "running"):
        time.sleep(1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert len(list(client.fine_tuning.jobs.list_events(job.id))) > 0
    assert job.status == "succeeded", job
    asked: Any = [{"role": "user", "content": "Who has 99 cats?"}]
    reply = chat.create(messages=asked, **SHORT | {"model": job.fine_tuned_model})
    assert reply.choices[0].message.content == "Ada.", (reply.choices[0].message.content, job)


if __name__ == "__main__":
    run_scenarios()
