"""Turns the arguments of ``chat`` in Python into the request of one turn."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Unpack, cast

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

REPLY_TOKENS_DEFAULT = 256
"""Default of ``max_tokens`` for ``chat``, whose replies are meant to be read by a person."""

REAL_NUMBERS = {
    "temperature",
    "top_p",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "own_words_penalty",
}
WHOLE_NUMBERS = {"max_tokens", "top_k", "seed", "logprobs", "min_tokens"}
NONE_IS_NO_LIMIT = {"max_tokens", "seed", "logprobs"}
SWITCHES = {"ignore_eos", "include_stop", "skip_special_tokens"}
TEXTS = {"stop", "bad_words"}
TOKEN_IDS = {"allowed_token_ids", "stop_token_ids"}


def sampling_in(options: ChatOptions, base: SamplingDefaults) -> Sampling:
    """Return the sampling of a request, as ``base`` recommends where the options do not say it.

    Raises ``InvalidRequest`` for a value of the wrong type.
    """
    given: dict[str, Any] = {"max_tokens": REPLY_TOKENS_DEFAULT, **base._asdict()}
    given |= {name: value for name, value in options.items() if name in SamplingOptions.__annotations__}
    given["own_words_penalty"] = base.own_words(
        options.get("own_words_penalty"), options.get("repetition_penalty")
    )
    for name in given.keys() & REAL_NUMBERS:
        # Over HTTP the same operation has a float, and both must compare equal.
        given[name] = real_number(name, given[name])
    for name in given.keys() & WHOLE_NUMBERS:
        if not (_is_whole(given[name]) or (given[name] is None and name in NONE_IS_NO_LIMIT)):
            raise InvalidRequest(f"{name} is a whole number, not {given[name]!r:.80}.", name)
    for name in given.keys() & SWITCHES:
        if not isinstance(given[name], bool):
            raise InvalidRequest(f"{name} is True or False, not {given[name]!r:.80}.", name)
    if isinstance(given.get("stop"), str):
        given["stop"] = (given["stop"],)
    for name in given.keys() & (TEXTS | TOKEN_IDS):
        given[name] = _listed(name, given[name])
    if "logit_bias" in given:
        given["logit_bias"] = _biases(given["logit_bias"])
    told = options.get("repetition_detection")
    given["repetition_detection"] = None if told is None else _repetition(told)
    given["ends_degenerate"] = told is None and not options.get("ignore_eos") and base.ends_degenerate
    return Sampling(**given, response_schema=schema_of(options.get("response_format")))


def real_number(name: str, value: object) -> float:
    """Return the number. Raises ``InvalidRequest`` for another type, and for one that is not finite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(cast("float", value)) <= sys.float_info.max:
        raise InvalidRequest(f"{name} is a number, not {value!r:.80}.", name)
    return float(cast("float", value))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(name: str, value: object) -> tuple[Any, ...]:
    entries = cast("Sequence[object]", value) if isinstance(value, Sequence) else None
    are_texts = name in TEXTS
    if entries is None or isinstance(value, str | bytes):
        fits = False
    else:
        fits = all(isinstance(entry, str) if are_texts else _is_whole(entry) for entry in entries)
    if entries is None or not fits:
        kind = "texts" if are_texts else "token ids"
        raise InvalidRequest(f"{name} must be a list of {kind}, not {value!r:.80}.", name)
    if are_texts:
        check_unicode(name, "".join(cast("Sequence[str]", entries)), name)
    return tuple(entries)


def _biases(value: object) -> tuple[tuple[int, float], ...]:
    told = cast("Mapping[object, object]", value) if isinstance(value, Mapping) else None
    if told is None or not all(_is_whole(token_id) for token_id in told):
        raise InvalidRequest(
            f"logit_bias must be like {{504: -5.0}}, by token id, not {value!r:.80}.", "logit_bias"
        )
    return tuple((cast("int", token_id), real_number("logit_bias", bias)) for token_id, bias in told.items())


def _repetition(told: object) -> RepetitionDetection | None:
    if isinstance(told, Mapping):
        sizes = cast("Mapping[str, Any]", told)
        if not sizes:
            return None
        required, known = {"max_pattern_size", "min_count"}, set(RepetitionDetection._fields)
        if required <= sizes.keys() <= known and all(_is_whole(size) for size in sizes.values()):
            return RepetitionDetection(**sizes)
    raise InvalidRequest(
        'repetition_detection must be like {"max_pattern_size": 64, "min_count": 4}, or {} for none, not '
        f"{told!r:.80}.",
        "repetition_detection",
    )


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
    if isinstance(told, Mapping | Message):
        raise InvalidRequest("This is one message of a list: put it into [ ].", "message")
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
