"""``/v1/responses``: OpenAI's Responses API over a person's log.

A response of a personal model is a turn, and its id says which. Nothing is stored beside the log: a response
is read from its turn, one that follows another reads the turns that led to that, and deleting one forgets it.
A peek and a response of the base are in no log, and their ids find nothing.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from populace.actors.api_keys import KeyHolder
from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.tool_choice import ToolUse
from populace.actors.turn import FIRST, operation_of
from populace.actors.turns.requests import check_messages, make_request
from populace.api.responses import (
    DeletedResponse,
    ItemList,
    ResponseEventObject,
    ResponseNote,
    ResponseObject,
)
from populace.gateway.completions.parameters import warnings_of
from populace.gateway.completions.peeks import reason_to_peek
from populace.gateway.completions.routes import (
    ask_base,
    begin_of,
    held_sampling,
    replied,
    tool_use_of,
    unwritten,
    without_effect,
)
from populace.gateway.completions.schema import ChatBody
from populace.gateway.http.answers import answer
from populace.gateway.http.context import Caller, Gateway, gateway_of, keyed_router
from populace.gateway.http.disconnect import cancels_on_disconnect
from populace.gateway.http.event_stream import HEADERS, EventStream, named_events
from populace.gateway.http.idempotency import idempotency_key
from populace.gateway.http.limits import room_for
from populace.gateway.http.needs import needs
from populace.gateway.http.target import POPULATION_MODEL, Target, parse_target
from populace.gateway.responses.exchange import ResponseExchange, events_of, response_of
from populace.gateway.responses.item_pages import Included, IncludedArray, ItemPage
from populace.gateway.responses.items import InputItem, ReadItems, open_calls, read_items, unanswered
from populace.gateway.responses.schema import LOGPROBS, ResponseBody
from populace.gateway.responses.turn_lookup import begun_by, find_turn, newest_in, with_references
from populace.gateway.responses.wire import TurnKey, input_of, items_of
from populace.policies.history import CONVERSATION_PREFIX

router = keyed_router()

STREAM: dict[int | str, dict[str, Any]] = {200: {"content": named_events(ResponseEventObject)}}


@router.post("/v1/responses", response_model=ResponseObject, responses=STREAM)
@needs("tenant")
async def create_response(request: Request, caller: Caller, body: ResponseBody) -> Response:
    """Reply to the input, as a turn that follows another response or is of a conversation.

    With ``store`` false it is a peek, which leaves no trace.
    """
    if body.model == POPULATION_MODEL:
        raise InvalidRequest(
            "The population has no responses: ask it at /v1/chat/completions, or at /v1/population/answers.",
            "model",
        )
    gateway, chat = gateway_of(request), body.chat()
    target = parse_target(caller, body.model)
    key, cancels = idempotency_key(request), cancels_on_disconnect(request)
    uses = tool_use_of(gateway, chat)
    await _check_conversation(gateway, caller, target, body.conversation_id)
    items = await with_references(gateway, target.model, body.items, "input")
    follows, asked = await _comes_after(gateway, caller, target, body, items, operation_of(key))
    own = read_items(items, asked, "input")
    check_messages(own.messages, "input")
    # Tools are told for this response alone, as the instructions are.
    told = uses.told(body.told)
    messages = (*told, *own.messages)
    peek = await reason_to_peek(request, gateway, target, chat, messages)
    sampling = await held_sampling(gateway, chat, body.form(chat), uses)
    repeated = body.told_back(sampling, uses)
    exchange = ResponseExchange(
        metrics=gateway.metrics,
        base=gateway.engine.base,
        told={**repeated, "instructions": body.instructions or None},
        warnings=(
            *warnings_of(body),
            *_without_effect(body, chat, uses),
            *(unwritten(chat, uses) if target.model is not None and peek is None else ()),
        ),
        started=gateway.metrics.started(),
        peek=peek,
    )
    if target.model is None:
        begin = partial(ask_base, gateway, caller, chat, messages, sampling, uses.template)
    else:
        if peek is None:
            await room_for("bytes")
        turn = make_request(
            target.model,
            messages,
            sampling,
            alias=target.alias,
            operation=key,
            conversation=body.conversation_id,
            memory=chat.memory_choice,
            retrieved=chat.retrieved,
            corrections=chat.corrections,
            told=chat.told,
            template={**chat.template_variables, **uses.template},
            follows=follows,
            instructions=len(told),
            note=_note_of(body, repeated, own, told),
            whole=body.truncation == "disabled",
            turn_seconds_max=chat.seconds_max(gateway.turn_seconds_max),
        )
        wants_deltas = bool(body.stream) or body.includes_logprobs
        begin = begin_of(request, caller, turn, peeks=peek is not None, stream=wants_deltas)
    is_kept = key is not None and target.model is not None and not cancels
    names = ("input", "max_output_tokens")
    return await replied(request, exchange, begin, stream=bool(body.stream), is_kept=is_kept, names=names)


@router.get("/v1/responses/{response_id}", response_model=ResponseObject, responses=STREAM)
@needs("read")
async def show_response(
    request: Request,
    caller: Caller,
    response_id: str,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=0)] | None = None,
    include: Included = None,
    include_array: IncludedArray = None,
    include_obfuscation: bool = False,
) -> Response:
    """Read a response from its turn; with ``stream`` as events, those numbered after ``starting_after``."""
    del include, include_array, include_obfuscation
    turn = await find_turn(gateway_of(request), caller, response_id)
    if not stream:
        if starting_after is not None:
            raise InvalidRequest("It numbers events, so it goes with `stream=true`.", "starting_after")
        return answer(response_of(turn))
    skipped = 0 if starting_after is None else starting_after + 1
    events = b"".join(events_of(turn)[skipped:])
    return Response(events, media_type=EventStream.media_type, headers=HEADERS)


@router.delete("/v1/responses/{response_id}", response_model=DeletedResponse)
@needs("tenant")
async def delete_response(request: Request, caller: Caller, response_id: str) -> Response:
    """Forget the response's turn: the log, the memory, and the revisions that learned from it."""
    gateway = gateway_of(request)
    turn = await find_turn(gateway, caller, response_id)
    await gateway.hosts.forgetting.forget(
        turn.model,
        [turn.position],
        operation_of(idempotency_key(request)),
        turn_seconds_max=gateway.turn_seconds_max,
    )
    return answer(DeletedResponse(id=response_id))


@router.post("/v1/responses/{response_id}/cancel", response_model=ResponseObject)
@needs("tenant")
async def cancel_response(request: Request, caller: Caller, response_id: str) -> Response:
    """Refuse: nothing runs in the background, so a response that has an id to name is complete."""
    await find_turn(gateway_of(request), caller, response_id)
    raise InvalidRequest(
        "Nothing runs in the background, so there is nothing to cancel: this response is complete.",
        "background",
    )


@router.get("/v1/responses/{response_id}/input_items", response_model=ItemList)
@needs("read")
async def list_input_items(
    request: Request,
    caller: Caller,
    response_id: str,
    page: Annotated[ItemPage, Depends()],
) -> Response:
    """List the items of a response's input, the last one first unless ``order`` is ``asc``."""
    items = input_of(await find_turn(gateway_of(request), caller, response_id))
    return answer(page.of(items))


async def _check_conversation(
    gateway: Gateway, caller: KeyHolder, target: Target, conversation: str | None
) -> None:
    """Refuse a conversation of another person's; a name that no conversation was created with is a chat's."""
    if conversation is None:
        return
    if target.model is None:
        raise InvalidRequest("The base has no log with a conversation in it.", "conversation")
    if TurnKey.in_id(conversation, CONVERSATION_PREFIX) is None:
        return
    begun = await begun_by(gateway, caller, conversation)
    if begun.model != target.model:
        raise InvalidRequest(f"It is a conversation with `{begun.model.name}`.", "conversation")


async def _comes_after(
    gateway: Gateway,
    caller: KeyHolder,
    target: Target,
    body: ResponseBody,
    items: Sequence[InputItem],
    operation: str,
) -> tuple[int | None, tuple[str, ...]]:
    """Return the position that the turn follows, and the ids of the calls that its results may answer.

    The position is None for a turn of a conversation, or of the base. The calls are looked for if the input
    has a result without one.
    """
    if body.context is not None and body.context.retrieve and target.model is None:
        raise InvalidRequest("The base has no log to retrieve from.", "context")
    named, conversation = body.previous_response_id, body.conversation_id
    if named is not None:
        turn = await find_turn(gateway, caller, named)
        if turn.model != target.model:
            raise InvalidRequest(
                f"It is a response of `{turn.model.name}`, and a response follows one of the same model.",
                "previous_response_id",
            )
        return turn.position, open_calls(items_of(turn))
    if conversation is None:
        return FIRST, ()
    assert target.model is not None, "the base has no conversations"
    if not unanswered(items):
        return None, ()
    newest = await newest_in(gateway, target.model, conversation, operation)
    return None, () if newest is None else open_calls(items_of(newest))


def _note_of(body: ResponseBody, repeated: dict[str, Any], own: ReadItems, told: tuple[Message, ...]) -> str:
    """Write what the log keeps of a request beside its messages."""
    note = {**repeated, "items": len(own.messages)}
    if own.call_ids:
        note["call_ids"] = own.call_ids
    if told != body.told:  # tools are told in the instructions' message
        note["instructions"] = body.instructions or None
    return ResponseNote.model_validate(note).model_dump_json(exclude_unset=True)


def _without_effect(body: ResponseBody, chat: ChatBody, uses: ToolUse) -> Iterator[dict[str, str]]:
    """Name what a choice of tools leaves without effect, as a chat's, and what lacks its switch."""
    yield from without_effect(chat, uses)
    if uses.has_to and body.text is not None and body.text.format is not None:
        yield {
            "param": "text.format",
            "message": "`text.format` changes nothing: the reply has to call a tool.",
        }
    if body.top_logprobs and not body.includes_logprobs:
        message = f"`top_logprobs` changes nothing: `include` does not have `{LOGPROBS}`."
        yield {"param": "top_logprobs", "message": message}
