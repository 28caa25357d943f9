"""``/v1/population``: who takes part in the population's answers, and asking it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.membership import MemberView
from populace.actors.aggregation.question import Question
from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.gateway.context import Caller, KeyedRoute, aggregator_of, gateway_of
from populace.gateway.errors import error_body, status_of
from populace.gateway.event_stream import EventStream
from populace.gateway.schema import AskBody, SharingBody
from populace.gateway.target import named_model
from populace.gateway.wire import DONE, event
from populace.storage.errors import PopulaceError

router = APIRouter(route_class=KeyedRoute)

Answers = AsyncGenerator[PopulationAnswer]


@router.put("/v1/personal-models/{name}/sharing")
async def share(request: Request, tenant: Caller, name: str, body: SharingBody) -> Response:
    """Have a model take part and share ``votes`` or ``texts``; null has it take part no longer."""
    model = named_model(tenant, name)
    member = await gateway_of(request).hosts.members.share(model, body.sharing)
    if member is None:
        return JSONResponse({"object": "population.member", "model": name, "sharing": None})
    return JSONResponse(member_body(member))


@router.get("/v1/population/members")
async def list_members(request: Request, tenant: Caller) -> Response:
    """List those of the caller's models that take part, by name."""
    found = await gateway_of(request).hosts.members.of_tenant(tenant)
    return JSONResponse({"object": "list", "data": [member_body(one) for one in found]})


@router.post("/v1/population/answers")
async def ask(request: Request, tenant: Caller, body: AskBody) -> Response:
    """Ask members and answer what they came to; with ``stream`` also what the votes so far come to."""
    answers = aggregator_of(request).ask(tenant, question_of(body), body.models)
    if not body.stream:
        return JSONResponse(answer_body(await last_of(answers)))
    # The first one is waited for here, so that an error has a status.
    first = await anext(answers)
    return EventStream(_events(first, answers), answers, {})


def question_of(body: AskBody) -> Question:
    """Raises ``InvalidRequest`` if nothing is asked, or twice."""
    if (body.question is None) == (body.messages is None):
        raise InvalidRequest("Ask with either `question` or `messages`.", "question")
    messages: Sequence[Message] = (
        [Message("user", body.question)]
        if body.question is not None
        else [message.message() for message in body.messages or []]
    )
    return Question(
        tuple(messages),
        k=body.k if body.models is None else max(1, len(body.models)),
        kind=body.kind or ("choice" if body.choices else "text"),
        choices=tuple(body.choices),
        select=body.select,
        combine=body.combine,
        reply_tokens=body.reply_tokens,
        temperature=body.temperature,
        seconds_max=body.seconds_max,
        seed=body.seed,
    )


async def last_of(answers: Answers) -> PopulationAnswer:
    """Wait for the answer."""
    found: PopulationAnswer | None = None
    async with aclosing(answers):
        async for one in answers:
            found = one
    assert found is not None, "there is one at least"
    return found


def answer_body(answer: PopulationAnswer) -> dict[str, Any]:
    return {
        "object": "population.answer",
        "final": answer.is_final,
        "answer": answer.answer,
        "reason": answer.reason,
        "tie": answer.is_tie,
        "shares": [{"answer": said, "share": round(share, 6)} for said, share in answer.shares.items()],
        "measures": answer.measures._asdict(),
        "votes": [vote._asdict() for vote in answer.votes],
    }


def member_body(member: MemberView) -> dict[str, Any]:
    profile = member.profile
    return {
        "object": "population.member",
        "model": member.model.name,
        "base": member.base,
        "revision": member.revision,
        "sharing": member.sharing,
        "since": member.since_ms // 1000,
        "profiled": member.is_profiled,
        "accuracy": None if profile is None or not member.is_profiled else profile.accuracy,
    }


async def _events(first: PopulationAnswer, answers: Answers) -> AsyncGenerator[bytes, None]:
    yield event(answer_body(first))
    try:
        async for one in answers:
            yield event(answer_body(one))
    except PopulaceError as error:
        yield event(error_body(str(error), status=status_of(type(error)), code=error.code))
    yield DONE
