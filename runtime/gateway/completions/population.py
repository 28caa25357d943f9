"""``/v1/population``: membership in the population, and asking it."""

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.api_keys import KeyHolder
from populace.actors.engine import Message, Sampling
from populace.actors.errors import InvalidRequest
from populace.api.objects import Listing, example
from populace.api.population import AnswerObject, MemberObject, ReportObject
from populace.gateway.completions.chat_messages import ChatMessage, messages_read
from populace.gateway.completions.parameters import hints_of, warnings_of
from populace.gateway.completions.schema import DEFAULT_QUESTION, MESSAGES_MAX, ChatBody, PopulationBody
from populace.gateway.completions.wire import DONE, event, usage_of
from populace.gateway.http.answers import answer
from populace.gateway.http.body import Body, NonEmptyText, exactly_one_of
from populace.gateway.http.context import Caller, aggregator_of, gateway_of, keyed_router
from populace.gateway.http.disconnect import while_connected
from populace.gateway.http.errors import populace_error_body
from populace.gateway.http.event_stream import EventStream, completion_events
from populace.gateway.http.needs import needs
from populace.gateway.http.target import POPULATION_MODEL, named_model
from populace.policies.diversity.disclosure import Sharing
from populace.storage.records.errors import PopulaceError


class SharingBody(Body):
    """``PUT /v1/personal-models/{name}/sharing``; null ends the model's membership."""

    model_config = example(sharing="votes")

    sharing: Sharing | None


class AskBody(PopulationBody):
    """``POST /v1/population/answers``."""

    model_config = exactly_one_of(
        "question",
        "messages",
        example={"question": "Which one is in Italy?", "choices": ["Rome", "Oslo"], "k": 3},
    )

    question: NonEmptyText | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_MAX)] | None = None
    reply_tokens: int = DEFAULT_QUESTION.reply_tokens
    temperature: float = DEFAULT_QUESTION.temperature
    seed: int = DEFAULT_QUESTION.seed
    stream: bool = False


router = keyed_router()

Answers = AsyncGenerator[PopulationAnswer]

ASKED_WITH = frozenset(
    ("model", "messages", "population", "stream", "stream_options", "temperature", "seed")
) | {"max_tokens", "max_completion_tokens", "tool_choice", "parallel_tool_calls", *hints_of(ChatBody)}
"""What a chat with the population may have; from its members it takes one token each, or whole replies."""

NEUTRAL = Sampling()


@router.put("/v1/personal-models/{name}/sharing", response_model=MemberObject)
@needs("tenant")
async def share(request: Request, caller: Caller, name: str, body: SharingBody) -> Response:
    """Let a model take part and share its ``votes`` or ``texts``; null ends that."""
    model = named_model(caller, name)
    member = await gateway_of(request).hosts.members.share(model, body.sharing)
    if member is None:
        return answer(MemberObject(model=name, sharing=None))
    return answer(MemberObject.of(member))


@router.get("/v1/personal-models/{name}/sharing", response_model=MemberObject)
@needs("read")
async def show_sharing(request: Request, caller: Caller, name: str) -> Response:
    """Say what a model shares; ``sharing`` is null if it takes no part."""
    member = await gateway_of(request).hosts.members.of_model(named_model(caller, name))
    return answer(MemberObject(model=name, sharing=None) if member is None else MemberObject.of(member))


@router.get("/v1/population/members", response_model=Listing[MemberObject])
@needs("read", all_models=True)
async def list_members(request: Request, caller: Caller) -> Response:
    """List those of the caller's models that take part, by name."""
    found = await gateway_of(request).hosts.members.of_tenant(caller.tenant)
    return answer(Listing[MemberObject](data=tuple(MemberObject.of(member) for member in found)))


@router.get("/v1/population/report", response_model=ReportObject)
@needs("read", all_models=True)
async def report(request: Request, caller: Caller) -> Response:
    """Say of the caller's members which answer the probes alike, and what more voters are worth."""
    return answer(ReportObject.of(await aggregator_of(request).report(caller.tenant)))


@router.post(
    "/v1/population/answers",
    response_model=AnswerObject,
    responses={200: {"content": completion_events(AnswerObject)}},
)
@needs("tenant", all_models=True)
async def ask(request: Request, caller: Caller, body: AskBody) -> Response:
    """Ask members and return their combined answer; with ``stream`` also the one after each vote."""
    answers = aggregator_of(request).ask(caller.tenant, question_of(body), body.models)
    if not body.stream:
        return answer(AnswerObject.of(await while_connected(request, last_of(answers))))
    # Waits for the first answer here, so that an error has a status.
    first = await anext(answers)
    return EventStream(_events(first, answers), answers, {})


def question_of(body: AskBody) -> Question:
    """Build the question of a body. Raises ``InvalidRequest`` if it has none, or two."""
    if (body.question is None) == (body.messages is None):
        raise InvalidRequest("Ask with either `question` or `messages`.", "question")
    messages = list(messages_read(body.messages or []))
    if body.question is not None:
        messages = [Message("user", body.question)]
    return body.to_question(messages, tokens=body.reply_tokens, temperature=body.temperature, seed=body.seed)


async def chat(request: Request, caller: KeyHolder, body: ChatBody) -> Response:
    """Reply to a chat with ``model: "population"``; decodes greedily unless the request has a temperature."""
    caller.check_all_models()
    for name in body.model_fields_set - ASKED_WITH:
        nothing = (ChatBody.model_fields[name].default, getattr(NEUTRAL, name, None))
        if getattr(body, name) not in nothing:
            raise InvalidRequest(f"The population has no {name}.", name)
    body.tool_use("none")
    options = body.population or PopulationBody()
    sampling = body.to_sampling(gateway_of(request).engine.base.sampling)
    question = options.to_question(
        messages_read(body.messages),
        tokens=sampling.max_tokens or DEFAULT_QUESTION.reply_tokens,
        temperature=sampling.temperature if "temperature" in body.model_fields_set else 0.0,
        seed=abs(sampling.seed or 0) % 2**63,
    )
    answers = aggregator_of(request).ask(caller.tenant, question, options.models)
    head: dict[str, Any] = {
        "id": f"chatcmpl-{secrets.token_hex(16)}",
        "created": int(time.time()),
        "model": POPULATION_MODEL,
    }
    if warnings := warnings_of(body):
        head["warnings"] = warnings
    if not body.stream:
        answer = await last_of(answers)
        choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": _said(answer)}
        return JSONResponse(
            {
                **head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": usage_of(answer.prompt_tokens, answer.reply_tokens),
                "populace": _body(answer),
            }
        )
    first = await anext(answers)
    chunk = {**head, "object": "chat.completion.chunk"}
    return EventStream(_chunks(first, answers, chunk), answers, {})


def _said(answer: PopulationAnswer) -> dict[str, Any]:
    """Render the answer as a message; without an answer it is a refusal with the reason."""
    return {"role": "assistant", "content": answer.answer, "refusal": answer.reason or None}


async def _chunks(
    first: PopulationAnswer, answers: Answers, chunk: dict[str, Any]
) -> AsyncGenerator[bytes, None]:
    """Write a chunk without content for each vote as it arrives, and then the answer."""

    def part(answer: PopulationAnswer, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event({**chunk, "choices": [choice], "populace": _body(answer)})

    last = first
    try:
        if not first.is_final:
            yield part(first, {"role": "assistant"}, None)
        async for last in answers:
            if not last.is_final:
                yield part(last, {}, None)
        yield part(last, _said(last), "stop")
    except PopulaceError as error:
        yield event(populace_error_body(error))
    yield DONE


async def last_of(answers: Answers) -> PopulationAnswer:
    """Wait for the final answer, which is the last of ``answers``."""
    last: PopulationAnswer | None = None
    async with aclosing(answers):
        async for answer in answers:
            last = answer
    assert last is not None, "there is one at least"
    return last


def _body(answer: PopulationAnswer) -> dict[str, Any]:
    return AnswerObject.of(answer).model_dump(mode="json")


async def _events(first: PopulationAnswer, answers: Answers) -> AsyncGenerator[bytes, None]:
    yield event(_body(first))
    try:
        async for answer in answers:
            yield event(_body(answer))
    except PopulaceError as error:
        yield event(populace_error_body(error))
    yield DONE
