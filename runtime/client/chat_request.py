"""From what a caller of the Python face says to the request of one turn."""

from collections.abc import Mapping, Sequence
from typing import Any

from populace.actors.engine import Message, Sampling
from populace.actors.errors import InvalidRequest
from populace.actors.memory import MemoryChoice
from populace.actors.turn import ChatRequest, ModelId
from populace.actors.turns.requests import make_request
from populace.policies.retrieval import RETRIEVED_MAX

DEFAULT_CONVERSATION = "main"
REPLY_TOKENS_DEFAULT = 256
"""``chat`` answers are for reading; ask for more with ``max_tokens``."""

ROLES = ("system", "user", "assistant")
"""The log has others for what is no chat."""

MessageLike = Message | Mapping[str, str]


def chat_request(
    model: ModelId,
    message: str | Sequence[MessageLike],
    *,
    conversation: str | None = DEFAULT_CONVERSATION,
    alias: str = "latest",
    operation: str | None = None,
    turn_seconds_max: float = 120.0,
    max_tokens: int | None = REPLY_TOKENS_DEFAULT,
    memory: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    **sampling: Any,
) -> ChatRequest:
    """Build the request of one turn. Raises ``InvalidRequest`` for input of the wrong shape."""
    if isinstance(message, str):
        messages: tuple[Message, ...] = (Message("user", message),)
    else:
        messages = tuple(_message(one) for one in message)
        conversation = None
    if not messages or not any(one.content for one in messages):
        raise InvalidRequest("There is nothing to answer: the message is empty.", "message")
    _check_unicode([conversation or "", *(part for one in messages for part in one)])
    try:
        chosen = Sampling(max_tokens=max_tokens, **sampling)
    except TypeError as error:
        raise InvalidRequest(f"Unknown option: {error}", None) from None
    return make_request(
        model,
        messages,
        chosen,
        alias=alias,
        operation=operation,
        conversation=conversation,
        memory=_memory_choice(memory or {}),
        retrieved=_retrieved(context or {}),
        turn_seconds_max=turn_seconds_max,
    )


def _check_unicode(texts: Sequence[str]) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"The text is not valid Unicode: {error.reason}.", "message") from None


def _memory_choice(told: Mapping[str, Any]) -> MemoryChoice:
    unknown = told.keys() - set(MemoryChoice._fields)
    if unknown or not all(isinstance(value, bool) for value in told.values()):
        raise InvalidRequest('memory must be like {"read": True, "write": False}.', "memory")
    return MemoryChoice(**told)


def _retrieved(told: Mapping[str, Any]) -> int:
    count = told.get("retrieve", 0)
    is_count = isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= RETRIEVED_MAX
    if told.keys() - {"retrieve"} or not is_count:
        raise InvalidRequest(
            f'context must be like {{"retrieve": 3}}, with a count from 0 to {RETRIEVED_MAX}.', "context"
        )
    return count


def _message(one: MessageLike) -> Message:
    try:
        message = one if isinstance(one, Message) else Message(one["role"], one["content"])
    except (KeyError, TypeError):
        raise InvalidRequest("A message needs a `role` and a `content`.", "messages") from None
    if message.role not in ROLES:
        raise InvalidRequest(
            f"{str(message.role)[:80]!r} is no role; there are {', '.join(ROLES)}.", "messages"
        )
    return message
