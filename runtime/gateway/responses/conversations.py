"""``/v1/conversations``: conversations with a person, which are turns of the person's log.

What is kept of a conversation besides, its metadata, is in turns of the log as well, in which nothing is
said; its id names the first of them. So a conversation is sealed, exported and erased with its person.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from itertools import takewhile
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from fastapi.responses import Response
from pydantic import Field

from populace.actors.api_keys import KeyHolder
from populace.actors.engine import Message
from populace.actors.errors import ConversationNotFound, InvalidRequest
from populace.actors.forgetting import CONVERSATION_ROLE, SAID_ROLES
from populace.actors.turn import Interaction, ModelId, operation_of
from populace.actors.turns.requests import check_messages
from populace.actors.turns.setting import add_to_conversation, remark
from populace.api.objects import example, seconds
from populace.api.responses import (
    ConversationObject,
    ConversationRemark,
    DeletedConversation,
    Item,
    ItemList,
    ItemObject,
    ResponseNote,
)
from populace.gateway.http.answers import answer
from populace.gateway.http.body import Body, NonEmptyText
from populace.gateway.http.callers_models import models_of
from populace.gateway.http.context import Caller, Gateway, gateway_of, keyed_router
from populace.gateway.http.idempotency import idempotency_key
from populace.gateway.http.needs import needs
from populace.gateway.http.target import named_model
from populace.gateway.responses.item_pages import Included, IncludedArray, ItemPage
from populace.gateway.responses.items import ReadItems, SentItem, open_calls, read_items
from populace.gateway.responses.schema import Metadata
from populace.gateway.responses.turn_lookup import begun_by, remark_in, with_references
from populace.gateway.responses.wire import TurnKey, items_of
from populace.policies.history import CONVERSATION_PREFIX, is_same_conversation
from populace.storage.records.errors import InteractionNotFound

router = keyed_router()

PATH = "/v1/conversations"
TURNS_AT_ONCE = 500
PERSON = "model"
"""The key of the metadata that names the person, for clients that can send nothing else."""

ITEMS_ADDED_MAX = 20
"""At most this many items are added at once, as at OpenAI."""

Added = Annotated[list[SentItem], Field(max_length=ITEMS_ADDED_MAX)]


class NewConversationBody(Body):
    """``POST /v1/conversations``. ``model``, here or in the metadata, is needed if the tenant has several."""

    model_config = example(
        model="ada",
        metadata={"topic": "travel"},
        items=[{"type": "message", "role": "user", "content": "We fly to Rome in May."}],
    )

    metadata: Metadata | None = None
    model: NonEmptyText | None = None
    items: Added | None = None


class MetadataBody(Body):
    """``POST /v1/conversations/{id}``: the new metadata, instead of the old."""

    model_config = example(metadata={"topic": "holidays"})

    metadata: Metadata | None


class ItemsBody(Body):
    """``POST /v1/conversations/{id}/items``."""

    model_config = example(items=[{"type": "message", "role": "user", "content": "We fly to Rome in May."}])

    items: Added


class Kept(NamedTuple):
    """A conversation as the log has it."""

    begun: Interaction
    metadata: dict[str, str]
    turns: tuple[Interaction, ...]

    def shown(self, identity: str) -> ConversationObject:
        return ConversationObject(
            id=identity, created_at=seconds(self.begun.created_ms), metadata=self.metadata
        )


@router.post(PATH, response_model=ConversationObject)
@needs("tenant")
async def create_conversation(request: Request, caller: Caller, body: NewConversationBody) -> Response:
    """Create a conversation with a person."""
    gateway, metadata = gateway_of(request), body.metadata or {}
    model = await _person(gateway, caller, body.model or metadata.get(PERSON))
    items = await _read(gateway, model, body.items or (), ())
    begun = await _remark(request, model, ConversationRemark(metadata=metadata))
    identity = f"{CONVERSATION_PREFIX}{TurnKey.of_turn(begun)}"
    if items.messages:
        # The key named the turn before.
        operation = f"items-{begun.operation}"
        await _add(gateway, model, identity, items, operation)
    return answer(Kept(begun, metadata, ()).shown(identity))


@router.get(f"{PATH}/{{conversation_id}}", response_model=ConversationObject)
@needs("read")
async def show_conversation(request: Request, caller: Caller, conversation_id: str) -> Response:
    """Read when the conversation was created, and its metadata."""
    return answer((await _find(gateway_of(request), caller, conversation_id)).shown(conversation_id))


@router.post(f"{PATH}/{{conversation_id}}", response_model=ConversationObject)
@needs("tenant")
async def update_conversation(
    request: Request, caller: Caller, conversation_id: str, body: MetadataBody
) -> Response:
    """Replace the metadata."""
    kept = await _find(gateway_of(request), caller, conversation_id)
    metadata = body.metadata or {}
    await _remark(request, kept.begun.model, ConversationRemark(id=conversation_id, metadata=metadata))
    return answer(kept._replace(metadata=metadata).shown(conversation_id))


@router.delete(f"{PATH}/{{conversation_id}}", response_model=DeletedConversation)
@needs("tenant")
async def delete_conversation(request: Request, caller: Caller, conversation_id: str) -> Response:
    """Delete the conversation; its turns stay in the log, as OpenAI keeps the items."""
    kept = await _find(gateway_of(request), caller, conversation_id)
    await _remark(request, kept.begun.model, ConversationRemark(id=conversation_id, deleted=True))
    return answer(DeletedConversation(id=conversation_id))


@router.get(f"{PATH}/{{conversation_id}}/items", response_model=ItemList)
@needs("read")
async def list_items(
    request: Request,
    caller: Caller,
    conversation_id: str,
    page: Annotated[ItemPage, Depends()],
) -> Response:
    """List what was said in the conversation, the last first unless ``order`` is ``asc``."""
    kept = await _find(gateway_of(request), caller, conversation_id)
    items = [item for turn in kept.turns for item in items_of(turn)]
    return answer(page.of(items))


@router.post(f"{PATH}/{{conversation_id}}/items", response_model=ItemList)
@needs("tenant")
async def create_items(
    request: Request,
    caller: Caller,
    conversation_id: str,
    body: ItemsBody,
    include: Included = None,
    include_array: IncludedArray = None,
) -> Response:
    """Add items to the conversation, which later turns of it read."""
    del include, include_array
    gateway = gateway_of(request)
    kept = await _find(gateway, caller, conversation_id)
    operation = operation_of(idempotency_key(request))
    # What is added again was added to the turns before it.
    earlier = list(takewhile(lambda turn: turn.operation != operation, kept.turns))
    asked = open_calls(items_of(earlier[-1])) if earlier else ()
    items = await _read(gateway, kept.begun.model, body.items, asked)
    if not items.messages:
        return answer(ItemList.of((), has_more=False))
    added = await _add(gateway, kept.begun.model, conversation_id, items, operation)
    return answer(ItemList.of(items_of(added), has_more=False))


@router.get(f"{PATH}/{{conversation_id}}/items/{{item_id}}", response_model=ItemObject)
@needs("read")
async def show_item(
    request: Request,
    caller: Caller,
    conversation_id: str,
    item_id: str,
    include: Included = None,
    include_array: IncludedArray = None,
) -> Response:
    """Read one item."""
    del include, include_array
    _, item = await _find_item(gateway_of(request), caller, conversation_id, item_id)
    return answer(item)


@router.delete(f"{PATH}/{{conversation_id}}/items/{{item_id}}", response_model=ConversationObject)
@needs("tenant")
async def delete_item(request: Request, caller: Caller, conversation_id: str, item_id: str) -> Response:
    """Forget the whole turn of the item, or all that was added with it: a reply to nothing is none."""
    gateway = gateway_of(request)
    turn, _ = await _find_item(gateway, caller, conversation_id, item_id)
    await gateway.hosts.forgetting.forget(
        turn.model,
        [turn.position],
        operation_of(idempotency_key(request)),
        turn_seconds_max=gateway.turn_seconds_max,
    )
    return answer((await _find(gateway, caller, conversation_id)).shown(conversation_id))


async def _person(gateway: Gateway, caller: KeyHolder, named: str | None) -> ModelId:
    """Return the person to converse with. Raises ``InvalidRequest`` if that may be several, or nobody."""
    if named is not None:
        return named_model(caller, named)
    models = (await models_of(gateway.hosts, caller, limit=2)).models
    if len(models) != 1:
        raise InvalidRequest(
            "A conversation is with one person: name the model as `model`, or in the metadata as `model`.",
            "model",
        )
    return models[0].model


async def _remark(request: Request, model: ModelId, told: ConversationRemark) -> Interaction:
    gateway = gateway_of(request)
    return await remark(
        gateway.hosts,
        model,
        Message(CONVERSATION_ROLE, json.dumps(told.model_dump(exclude_unset=True))),
        operation_of(idempotency_key(request)),
        turn_seconds_max=gateway.turn_seconds_max,
    )


async def _read(
    gateway: Gateway, model: ModelId, sent: Sequence[SentItem], asked: Sequence[str]
) -> ReadItems:
    """Read items that are to be added; ``asked`` are the ids of the calls before them.

    Raises ``InvalidRequest`` for those that cannot be, before anything is written.
    """
    items = read_items(await with_references(gateway, model, sent, "items"), asked, "items")
    if items.messages:
        check_messages(items.messages, "items")
    return items


async def _add(
    gateway: Gateway, model: ModelId, conversation: str, items: ReadItems, operation: str
) -> Interaction:
    note = ResponseNote(items=len(items.messages), model=model.name, call_ids=items.call_ids)
    return await add_to_conversation(
        gateway.hosts,
        model,
        conversation,
        items.messages,
        operation,
        note=note.model_dump_json(exclude_unset=True) if items.call_ids else "",
        turn_seconds_max=gateway.turn_seconds_max,
    )


async def _find(gateway: Gateway, caller: KeyHolder, conversation: str) -> Kept:
    """Read a conversation from the log. Raises ``ConversationNotFound``, also for one that was deleted."""
    begun = await begun_by(gateway, caller, conversation)
    told, is_deleted = remark_in(begun), False
    turns: list[Interaction] = []
    async for turn in _after(gateway, begun):
        if turn.messages[0].role == CONVERSATION_ROLE:
            later = remark_in(turn)
            if is_same_conversation(later.id, conversation):
                told, is_deleted = later, is_deleted or later.deleted
        elif turn.messages[0].role not in SAID_ROLES and is_same_conversation(
            turn.conversation, conversation
        ):
            turns.append(turn)
    if is_deleted:
        raise ConversationNotFound(conversation)
    return Kept(begun, told.metadata, tuple(turns))


async def _after(gateway: Gateway, begun: Interaction) -> AsyncGenerator[Interaction, None]:
    """The turns of the log after one of them."""
    start = begun.position + 1
    while True:
        found = await gateway.hosts.read_log(begun.model, start=start, limit=TURNS_AT_ONCE)
        for turn in found:
            yield turn
        if len(found) < TURNS_AT_ONCE:
            return
        start = found[-1].position + 1


async def _find_item(
    gateway: Gateway, caller: KeyHolder, conversation: str, item_id: str
) -> tuple[Interaction, Item]:
    """Return an item and its turn. Raises ``ConversationNotFound`` and ``InteractionNotFound``."""
    kept = await _find(gateway, caller, conversation)
    for turn in kept.turns:
        for item in items_of(turn):
            if item.id == item_id:
                return turn, item
    raise InteractionNotFound(kept.begun.model.name, item_id)
