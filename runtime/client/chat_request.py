"""Turns the arguments of ``chat`` in Python into the request of one turn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Unpack, cast

from populace.actors.engine import Message, SamplingDefaults
from populace.actors.errors import InvalidRequest
from populace.actors.memory import MemoryChoice
from populace.actors.peek import without_trace
from populace.actors.tool_calls import TOOL_ROLE, Said, messages_of
from populace.actors.turn import ChatRequest, ModelId, check_unicode
from populace.actors.turns.requests import make_request
from populace.api.tool_choices import calls_of, use_in
from populace.client.options import ChatOptions, PeekOptions, check_options
from populace.client.sampling_options import real_number, sampling_in
from populace.policies.retrieval import RETRIEVED_MAX
from populace.storage.rows.ledger import FIRST_ALIAS

DEFAULT_CONVERSATION = "main"

NEW_CONVERSATION = "new"
"""The name of no conversation: a message to it begins one, with nothing before it, as None does."""

TURN_SECONDS_MAX = 120.0
"""Default of ``turn_seconds_max`` in the cluster; over HTTP it is the server's setting."""

NO_PREFERENCE = SamplingDefaults()

ROLES = ("system", "user", "assistant", TOOL_ROLE)
"""Roles that a chat message may have; the log has others for turns that are no chat."""

_RESULT_OF = "tool_call_id"

MessageLike = Message | Mapping[str, Any]


def chat_request(
    model: ModelId,
    message: str | Sequence[MessageLike],
    base: SamplingDefaults = NO_PREFERENCE,
    /,
    **options: Unpack[ChatOptions],
) -> ChatRequest:
    """Build the request of one turn, sampled as ``base`` recommends where the options do not say it.

    Raises ``InvalidRequest`` for input of the wrong shape.
    """
    check_options(options, ChatOptions, "chat")
    conversation = options.get("conversation", DEFAULT_CONVERSATION)
    if conversation == NEW_CONVERSATION:
        conversation = None
    if conversation is not None:
        _check_text("A conversation's name", conversation, "conversation")
    alias = options.get("alias", FIRST_ALIAS)
    _check_text("An alias", alias, "alias")
    if isinstance(message, str):
        messages: tuple[Message, ...] = (Message("user", message),)
    else:
        messages = _messages(message)
        conversation = None
    uses = use_in(options)
    told = uses.told(messages)
    instructions, messages = len(told) - len(messages), told
    sampling = sampling_in(options, base)
    if uses.tools:
        sampling = replace(sampling, response_schema=uses.schema())
    check_unicode("A message", "".join(part for entry in messages for part in entry), "message")
    context = _context_choice(options.get("context"))
    return make_request(
        model,
        messages,
        sampling,
        alias=alias,
        operation=options.get("operation"),
        conversation=conversation,
        memory=_memory_choice(options.get("memory")),
        retrieved=context.retrieve,
        corrections=context.corrections,
        told=context.told,
        instructions=instructions,
        turn_seconds_max=_seconds_in(options),
    )


def peek_request(
    model: ModelId,
    message: str | Sequence[MessageLike],
    base: SamplingDefaults = NO_PREFERENCE,
    /,
    **options: Unpack[PeekOptions],
) -> ChatRequest:
    """Build the request of a peek. Raises as ``chat_request``, and for an option that only a turn has."""
    check_options(options, PeekOptions, "peek")
    request = chat_request(model, message, base, **options)
    if (options.get("memory") or {}).get("write"):
        raise InvalidRequest("A peek leaves no trace: it writes no memory.", "memory")
    return without_trace(request)


def _seconds_in(options: ChatOptions) -> float:
    seconds = real_number("turn_seconds_max", options.get("turn_seconds_max", TURN_SECONDS_MAX))
    if seconds <= 0:
        raise InvalidRequest(f"turn_seconds_max is over 0 seconds, not {seconds:g}.", "turn_seconds_max")
    return seconds


def _check_text(what: str, value: object, parameter: str) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{what} is a text, not {value!r:.80}.", parameter)
    check_unicode(what, value, parameter)


def _named(told: object) -> Mapping[str, Any] | None:
    """Return the names and values that an option has; None if it is of another type."""
    if told is None:
        return {}
    return cast("Mapping[str, Any]", told) if isinstance(told, Mapping) else None


def _memory_choice(told: object) -> MemoryChoice:
    given = _named(told)
    known = given is not None and given.keys() <= set(MemoryChoice._fields)
    if given is None or not known or not all(isinstance(value, bool) for value in given.values()):
        raise InvalidRequest('memory must be like {"read": True, "write": False}.', "memory")
    return MemoryChoice(**given)


class _ContextChoice(NamedTuple):
    """How many turns are retrieved, whether the reply keeps to a correction, and is told from one turn."""

    retrieve: int = 0
    corrections: bool = True
    told: bool = True


def _context_choice(said: object) -> _ContextChoice:
    given = _named(said)
    if given is not None and given.keys() <= set(_ContextChoice._fields):
        chosen = _ContextChoice(**given)
        # True is an int too.
        if [type(value) for value in chosen] == [int, bool, bool] and 0 <= chosen.retrieve <= RETRIEVED_MAX:
            return chosen
    raise InvalidRequest(
        f'context must be like {{"retrieve": 3, "corrections": True, "told": True}}, with a count from 0 to '
        f"{RETRIEVED_MAX}.",
        "context",
    )


def _messages(told: Sequence[MessageLike]) -> tuple[Message, ...]:
    try:
        said = [_said(entry) for entry in told]
    except TypeError:
        raise InvalidRequest(
            f"A message is a text or a list of messages, not {told!r:.80}.", "message"
        ) from None
    return messages_of(said)


def _said(one: MessageLike) -> Said:
    given = one._asdict() if isinstance(one, Message) else one
    try:
        calls = given.get("tool_calls")
        role = given["role"]
        content = "" if calls and not given.get("content") else _content(given["content"])
    except (AttributeError, KeyError, TypeError):
        raise InvalidRequest("A message needs a `role` and a `content`.", "messages") from None
    known = {
        *Message._fields,
        "tool_calls" if role == "assistant" else "",
        _RESULT_OF if role == TOOL_ROLE else "",
    }
    if more := [name for name, value in given.items() if value and name not in known]:
        raise InvalidRequest(f"A message has a `role` and a `content`, but no {more[0]!r:.80}.", "messages")
    if role not in ROLES:
        raise InvalidRequest(f"{str(role)[:80]!r} is no role; there are {', '.join(ROLES)}.", "messages")
    read = calls_of(calls, "messages.tool_calls") if calls else ()
    if (answers := given.get(_RESULT_OF)) is not None:
        _check_text(f"A `{_RESULT_OF}`", answers, "messages")
    return Said(role, content, read, answers)


def _content(told: object) -> str:
    """Return a message's text; parts of OpenAI's shape are joined, as over HTTP."""
    if isinstance(told, str):
        return told
    parts = cast("Sequence[object]", told) if isinstance(told, list | tuple) else ()
    texts = [part for part in map(_part, parts) if part is not None]
    if not parts or len(texts) < len(parts):
        raise InvalidRequest(
            'The `content` of a message is a text, or a list of parts like {"type": "text", "text": "hi"}, '
            f"not {told!r:.80}.",
            "messages",
        )
    return "".join(texts)


def _part(told: object) -> str | None:
    part = _named(told)
    if not part or set(part) != {"type", "text"} or part["type"] != "text":
        return None
    return part["text"] if isinstance(part["text"], str) else None
