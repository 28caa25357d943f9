"""Turns the arguments of ``chat`` in Python into the request of one turn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from populace.actors.engine import Message, RepetitionDetection, Sampling, SamplingDefaults
from populace.actors.errors import InvalidRequest
from populace.actors.memory import MemoryChoice
from populace.actors.peek import without_trace
from populace.actors.response_schema import schema_of
from populace.actors.tool_calls import TOOL_ROLE, Said, messages_of
from populace.actors.turn import ChatRequest, ModelId, check_unicode
from populace.actors.turns.requests import make_request
from populace.api.tool_choices import calls_of, use_in
from populace.client.options import ChatOptions, PeekOptions, SamplingOptions, check_options
from populace.policies.retrieval import RETRIEVED_MAX
from populace.storage.rows.ledger import FIRST_ALIAS

DEFAULT_CONVERSATION = "main"
REPLY_TOKENS_DEFAULT = 256
"""Default of ``max_tokens`` for ``chat``, whose replies are meant to be read by a person."""

TURN_SECONDS_MAX = 120.0

NO_PREFERENCE = SamplingDefaults()

REAL_NUMBERS = {
    "temperature",
    "top_p",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
}
LISTS = {"allowed_token_ids", "bad_words", "stop_token_ids"}

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
    if isinstance(message, str):
        messages: tuple[Message, ...] = (Message("user", message),)
    else:
        messages = _messages(message)
        conversation = None
    uses = use_in(options)
    told = uses.told(messages)
    instructions, messages = len(told) - len(messages), told
    sampling = _sampling(options, base)
    if uses.tools:
        sampling = replace(sampling, response_schema=uses.schema())
    check_unicode("A conversation's name", conversation or "", "conversation")
    check_unicode("A message", "".join(part for entry in messages for part in entry), "message")
    return make_request(
        model,
        messages,
        sampling,
        alias=options.get("alias", FIRST_ALIAS),
        operation=options.get("operation"),
        conversation=conversation,
        memory=_memory_choice(options.get("memory") or {}),
        retrieved=_retrieved(options.get("context") or {}),
        instructions=instructions,
        turn_seconds_max=options.get("turn_seconds_max", TURN_SECONDS_MAX),
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
    if (options.get("memory") or {}).get("write"):
        raise InvalidRequest("A peek leaves no trace: it writes no memory.", "memory")
    return without_trace(chat_request(model, message, base, **options))


def _sampling(options: ChatOptions, base: SamplingDefaults) -> Sampling:
    given: dict[str, Any] = {"max_tokens": REPLY_TOKENS_DEFAULT, **base._asdict()}
    given |= {name: value for name, value in options.items() if name in SamplingOptions.__annotations__}
    for name in REAL_NUMBERS & given.keys():
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRequest(f"{name} is a number, not {value!r:.80}.", name)
        # Over HTTP the same operation has a float, and both must compare equal.
        given[name] = float(value)
    stop = given.get("stop", ())
    given["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    for name in (LISTS | {"logit_bias"}) & given.keys():
        given[name] = _tuple_of(name, given[name])
    told = options.get("repetition_detection")
    if told is not None:
        given["repetition_detection"] = _repetition(told)
    else:
        ends = not options.get("ignore_eos")
        given["repetition_detection"] = base.repetition_detection if ends else None
    return Sampling(**given, response_schema=schema_of(options.get("response_format")))


def _repetition(told: Mapping[str, int]) -> RepetitionDetection | None:
    try:
        return RepetitionDetection(**told) if told else None
    except TypeError:
        raise InvalidRequest(
            'repetition_detection must be like {"max_pattern_size": 64, "min_count": 4}, or {} for none, not '
            f"{told!r:.80}.",
            "repetition_detection",
        ) from None


def _tuple_of(name: str, value: Any) -> tuple[Any, ...]:
    try:
        if name == "logit_bias":
            return tuple((token_id, float(bias)) for token_id, bias in value.items())
        return tuple(value)
    except (AttributeError, TypeError, ValueError):
        kind = "like {504: -5.0}, by token id" if name == "logit_bias" else "a list"
        raise InvalidRequest(f"{name} must be {kind}, not {value!r:.80}.", name) from None


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
        role, content = given["role"], given["content"] or "" if calls else given["content"]
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
    return Said(role, content, read, given.get(_RESULT_OF))
