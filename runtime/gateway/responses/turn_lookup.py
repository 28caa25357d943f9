"""Finds turns of a person's log by what clients name: responses, conversations and items."""

import re
from collections import Counter
from collections.abc import Sequence

from populace.actors.api_keys import KeyHolder
from populace.actors.errors import ConversationNotFound, InvalidRequest, ResponseNotFound
from populace.actors.forgetting import CONVERSATION_ROLE, SAID_ROLES
from populace.actors.turn import RAW_ROLE, Interaction, ModelId
from populace.api.responses import ConversationRemark
from populace.gateway.http.context import Gateway
from populace.gateway.responses.items import InputItem, ReferenceItem, SentItem, sent_back
from populace.gateway.responses.wire import PLACE, TurnKey, items_of
from populace.policies.history import CONVERSATION_PREFIX, HISTORY_TURNS_MAX, is_same_conversation
from populace.policies.ingestion import ADDED_ROLE
from populace.storage.records.errors import ModelNotFound

_ITEM = re.compile(rf"(?:msg|fc|fco)_(.+_{PLACE})_(?:out|[0-9]+)(?:_[0-9]+)?")


async def find_turn(gateway: Gateway, caller: KeyHolder, response_id: str) -> Interaction:
    """Return the turn that a response is. Raises ``ResponseNotFound``, also for a turn that was forgotten."""
    key = TurnKey.in_id(response_id)
    turn = None if key is None else await _turn_at(gateway, _person_of(caller, key), key)
    if turn is None or turn.messages[0].role in (*SAID_ROLES, RAW_ROLE, ADDED_ROLE):
        raise ResponseNotFound(response_id)
    return turn


def _person_of(caller: KeyHolder, key: TurnKey) -> ModelId:
    caller.check_model(key.model)
    return ModelId(caller.tenant, key.model)


async def _turn_at(gateway: Gateway, model: ModelId, key: TurnKey) -> Interaction | None:
    try:
        found = await gateway.hosts.read_log(model, start=key.position, limit=1)
    except ModelNotFound:
        return None
    named = (turn for turn in found if TurnKey.of_turn(turn) == key)
    return next(named, None)


async def begun_by(gateway: Gateway, caller: KeyHolder, conversation: str) -> Interaction:
    """Return the turn that created a conversation. Raises ``ConversationNotFound``."""
    key = TurnKey.in_id(conversation, CONVERSATION_PREFIX)
    turn = None if key is None else await _turn_at(gateway, _person_of(caller, key), key)
    if turn is None or turn.messages[0].role != CONVERSATION_ROLE:
        raise ConversationNotFound(conversation)
    if remark_in(turn).id is not None:  # it says something of an earlier one
        raise ConversationNotFound(conversation)
    return turn


def remark_in(turn: Interaction) -> ConversationRemark:
    """Read what a turn that is about a conversation says of it."""
    return ConversationRemark.model_validate_json(turn.messages[0].content)


async def newest_in(
    gateway: Gateway, model: ModelId, conversation: str, operation: str
) -> Interaction | None:
    """Return the last of the turns that a turn of the conversation would be shown.

    If the operation made one of them, its turn was shown those before it.
    """
    end = (await gateway.hosts.show_model(model)).log_position
    turns = await _turns_before(gateway, model, end)
    made = next((turn.position for turn in turns if turn.operation == operation), None)
    if made is not None:
        turns = await _turns_before(gateway, model, made)
    same = (turn for turn in reversed(turns) if is_same_conversation(turn.conversation, conversation))
    return next(same, None)


async def _turns_before(gateway: Gateway, model: ModelId, end: int) -> tuple[Interaction, ...]:
    start = max(0, end - HISTORY_TURNS_MAX)
    return await gateway.hosts.read_log(model, start=start, limit=end - start) if end else ()


async def with_references(
    gateway: Gateway, model: ModelId | None, items: Sequence[SentItem], parameter: str
) -> list[InputItem]:
    """Put the items of the model's log in the place of references to them.

    Raises ``InvalidRequest`` for a reference to none, and if the items have more bytes than a body may have;
    ``parameter`` names the items.
    """
    named = Counter(item.id for item in items if isinstance(item, ReferenceItem))
    referred = await _items_named(gateway, model, named, parameter)
    found: list[InputItem] = []
    for place, item in enumerate(items):
        if isinstance(item, ReferenceItem) and item.id not in referred:
            raise InvalidRequest(
                f"There is no item {item.id!r:.200} in the log of this model: send the item itself.",
                f"{parameter}[{place}].id",
            )
        found.append(referred[item.id] if isinstance(item, ReferenceItem) else item)
    return found


async def _items_named(
    gateway: Gateway, model: ModelId | None, named: Counter[str], parameter: str
) -> dict[str, InputItem]:
    """Read the items that are there, each turn once; ``named`` counts how often each is referred to."""
    wanted: dict[TurnKey, set[str]] = {}
    for identity in named:
        match = _ITEM.fullmatch(identity)
        key = None if match is None else TurnKey.in_id(match[1], "")
        if key is not None and model is not None and key.model == model.name:
            wanted.setdefault(key, set()).add(identity)
    found: dict[str, InputItem] = {}
    bytes_left = gateway.body_bytes_max
    for key, identities in wanted.items():
        turn = None if model is None else await _turn_at(gateway, model, key)
        for item in () if turn is None else items_of(turn):
            if item.id not in identities:
                continue
            # A reference of a few bytes stands for an item of any length, as often as it is repeated.
            bytes_left -= named[item.id] * len(item.model_dump_json().encode())
            if bytes_left < 0:
                raise InvalidRequest(
                    f"The items that it refers to have more than {gateway.body_bytes_max} bytes together, "
                    "the limit of a request body: refer to fewer.",
                    parameter,
                )
            found[item.id] = sent_back(item)
    return found
