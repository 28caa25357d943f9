"""Reads the calls in a reply, whole and as it is made."""

import re
from typing import Any, Literal, NamedTuple

from populace.actors.engine import Delta
from populace.actors.response_schema import NAME
from populace.actors.tool_calls import call_id, calls_in

_HEAD = re.compile(rf'(?:\[|, )\{{"name": "({NAME.pattern})", "arguments": $')


class CallPart(NamedTuple):
    """What a piece of a reply adds to the call of this number.

    ``name`` is in a call's first part; ``ends`` says that this is its last one.
    """

    call: int
    name: str | None
    arguments: str
    ends: bool = False


class CallReader:
    """Reads the calls in a reply piece by piece. A reply that was cut off has calls that are cut off.

    The reply keeps to the schema of calls. ``is_complete`` once its last character was read.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._head = ""
        self._index = -1
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def read(self, text: str) -> list[CallPart]:
        """Return what the text adds, at most one part for each call."""
        parts: list[CallPart] = []
        name: str | None = None
        given: list[str] = []
        for character in text:
            if self._depth == 0 and (found := self._begun(character)):
                name, self._head = found, ""
                self._index += 1
            elif self._depth == 0:
                continue
            given.append(character)
            self._advance(character)
            if self._depth == 0:
                parts.append(CallPart(self._index, name, "".join(given), ends=True))
                name, given = None, []
        return [*parts, CallPart(self._index, name, "".join(given))] if given else parts

    def _begun(self, character: str) -> str | None:
        """Return the name of the call whose arguments begin here, if any do."""
        if character == "{" and (found := _HEAD.search(self._head)):
            return found[1]
        self._head += character
        self.is_complete = self._head == "}]"
        return None

    def _advance(self, character: str) -> None:
        if self._in_string:
            self._in_string = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
        elif character == '"':
            self._in_string = True
        else:
            self._depth += {"{": 1, "}": -1}.get(character, 0)


def calling_choice(reply: Delta, completion_id: str) -> dict[str, Any]:
    """Render a reply that calls tools as a choice's message and finish reason."""
    reader = CallReader()
    calls = [part_of(part, completion_id, reply.choice) for part in reader.read(reply.text)]
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    return {"message": message, "finish_reason": finish_reason(reply, reader)}


def chosen_choice(reply: Delta, completion_id: str) -> dict[str, Any]:
    """Render a reply of a model that chose whether to call as a choice's message and finish reason."""
    content, calls = calls_in(reply.text)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if not calls:
        return {"message": message, "finish_reason": ended_as(reply)}
    parts = [CallPart(number, call.name, call.arguments) for number, call in enumerate(calls)]
    message["content"] = content or None
    message["tool_calls"] = [part_of(part, completion_id, reply.choice) for part in parts]
    return {"message": message, "finish_reason": "tool_calls"}


def finish_reason(reply: Delta, reader: CallReader) -> str | None:
    """Return the finish reason of a reply, read to its end: it called tools, or why it was cut off before."""
    return "tool_calls" if reader.is_complete else ended_as(reply)


def ended_as(reply: Delta) -> Literal["stop", "length"] | None:
    """Return the finish reason as OpenAI's clients know it; ``Provenance.degenerate`` has the other ones."""
    return reply.finish_reason if reply.finish_reason in (None, "length") else "stop"


def part_of(part: CallPart, completion_id: str, choice: int) -> dict[str, Any]:
    """Render a part of a call; the first one has its id and its name."""
    if part.name is None:
        return {"function": {"arguments": part.arguments}}
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": call_id(completion_id, choice, part.call), "type": "function", "function": function}
