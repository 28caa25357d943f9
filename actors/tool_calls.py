"""Calls of a caller's tools, as text: what a reply that calls tools looks like in the prompt and in the log.

A reply that calls is the JSON ``[{"name": "weather", "arguments": {"city": "Paris"}}]``. A call that a caller
sends back becomes the same text, so that its turn is recognised in the history, and the log, the training and
the memory need to know nothing of tools.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import NAME

TOOL_ROLE = "tool"
"""The role of what a tool returned: it is in the prompt and in the log, and no memory writes it."""

_HEAD = rf'\{{"name": "({NAME.pattern})", "arguments": '
_FIRST, _NEXT = re.compile(rf"\[{_HEAD}"), re.compile(rf", {_HEAD}")
_BEGINNING = re.compile(rf"(?:\A|\n)(?=\[{_HEAD})")
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[,:]|\s+|[^\s",:]+', re.DOTALL)
_DECODER = json.JSONDecoder()


class ToolCall(NamedTuple):
    """A call of the tool ``name``. ``arguments`` are JSON, unless a model wrote something else."""

    id: str
    name: str
    arguments: str


class Said(NamedTuple):
    """A message as a caller sends it: with calls, or as the result of the call that it ``answers``."""

    role: str
    content: str
    calls: tuple[ToolCall, ...] = ()
    answers: str | None = None

    def message(self) -> Message:
        """Return what the model reads of it, and the log keeps."""
        return Message(self.role, with_calls(self.content, self.calls) if self.calls else self.content)


def call_id(completion_id: str, choice: int, index: int) -> str:
    """Name a call by its completion, so that a reply that is asked for again has the same names.

    It has less than 40 characters, as many as OpenAI's servers take.
    """
    return f"call_{completion_id.rpartition('-')[2][:24]}_{choice}_{index}"


def with_calls(content: str, calls: Sequence[ToolCall]) -> str:
    """Write a reply that calls tools, after the text that it has besides."""
    written = ", ".join(
        f'{{"name": "{call.name}", "arguments": {_written(call.arguments)}}}' for call in calls
    )
    return f"{content}\n[{written}]" if content else f"[{written}]"


def _written(arguments: str) -> str:
    """Write an object as the grammar of calls does, whatever its client made of the white space.

    Its strings and numbers stay as they are. What is no JSON object is written as a string.
    """
    try:
        is_object = isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        return json.dumps(arguments, ensure_ascii=False)
    spaces = {",": ", ", ":": ": "}
    tokens = (found[0] for found in _TOKENS.finditer(arguments))
    return "".join(spaces.get(token, token) for token in tokens if not token.isspace())


def calls_in(text: str, completion_id: str = "chatcmpl-0") -> tuple[str, tuple[ToolCall, ...]]:
    """Return the text of a reply without its calls, and these; none if it is not one of ``with_calls``."""
    beginning = _BEGINNING.search(text)
    if beginning is None:
        return text, ()
    calls: list[ToolCall] = []
    at, head = beginning.end(), _FIRST
    while found := head.match(text, at):
        try:
            value, at = _DECODER.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return text, ()
        arguments = value if isinstance(value, str) else text[found.end() : at]
        calls.append(ToolCall(call_id(completion_id, 0, len(calls)), found[1], arguments))
        at, head = at + len("}"), _NEXT
    content = text[: beginning.start()]
    # Only what would be written so again is one: everything else is a text that looks like it.
    return (content, tuple(calls)) if with_calls(content, calls) == text else (text, ())


def messages_of(said: Sequence[Said]) -> tuple[Message, ...]:
    """Return what the model reads of a chat: calls as text, and after them their results in their order.

    Raises what ``in_order`` raises.
    """
    return tuple(
        one.message() for one in in_order(said, (), lambda place, field: f"messages[{place}].{field}")
    )


def in_order(said: Sequence[Said], asked: Sequence[str], parameter: Callable[[int, str], str]) -> list[Said]:
    """Put the results of parallel calls into the calls' order.

    ``asked`` are the ids of calls that were made before; ``parameter`` names a field of the message at a
    place as its caller does. Raises ``InvalidRequest`` for a result without its call, for a second one, and
    for calls of one id.
    """
    ordered: list[Said] = []
    open_calls = {call: at for at, call in enumerate(asked)}
    results: list[tuple[int, Said]] = []
    for place, message in enumerate(said):
        if message.role == TOOL_ROLE:
            results.append(
                (_asked_at(open_calls, message.answers, parameter(place, "tool_call_id")), message)
            )
            continue
        ordered += [answer for _, answer in sorted(results)]
        results.clear()
        if message.calls:
            open_calls = {call.id: at for at, call in enumerate(message.calls)}
            if len(open_calls) < len(message.calls):
                where = parameter(place, "tool_calls")
                raise InvalidRequest(f"Two tool calls of {_owner(where)} have the same id.", where)
        ordered.append(message)
    return [*ordered, *(answer for _, answer in sorted(results))]


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _asked_at(asked: dict[str, int], call: str | None, where: str) -> int:
    """Return the number of the call that a result answers, which has none from then on."""
    if call is None:
        raise InvalidRequest(f"{_owner(where)} is the result of a tool and has no `tool_call_id`.", where)
    if call not in asked:
        raise InvalidRequest(
            f"{_owner(where)} is the result of {call!r:.80}, which is no call of the assistant's "
            "last ones, or has a result already.",
            where,
        )
    return asked.pop(call)


def said_of(messages: Sequence[Message]) -> list[Said]:
    """Return what a caller sends for these messages: ``messages_of`` of it are the same ones again."""
    said: list[Said] = []
    open_calls: list[str] = []
    for place, message in enumerate(messages):
        if message.role == TOOL_ROLE and open_calls:
            said.append(Said(*message, answers=open_calls.pop(0)))
        elif message.role == "assistant":
            content, calls = calls_in(message.content, f"chatcmpl-{place}")
            said.append(Said(message.role, content, calls))
            open_calls = [call.id for call in calls] or open_calls
        else:
            said.append(Said(*message))
    return said


def wire_message(said: Said) -> dict[str, Any]:
    """Render a message in OpenAI's shape."""
    message: dict[str, Any] = {"role": said.role, "content": said.content}
    if said.calls:
        message["content"] = said.content or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in said.calls
        ]
    if said.answers is not None:
        message["tool_call_id"] = said.answers
    return message
