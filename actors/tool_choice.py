"""A caller's tools: what the model is told of them, and the schema of a reply that has to call them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import SCHEMA_BYTES_MAX, schema_text
from populace.actors.tool_calls import ToolCall, with_calls

TOOLS_MAX = 128
CALLS_MAX = 16
"""Calls in one reply."""

PARAMETER = "tools"
PARALLEL = "parallel_tool_calls"
"""The variable of a chat template that says whether a reply may have several calls."""

ADVICE = (
    "Whether to call a tool cannot be left to this base: its chat template knows no tools, or their calls "
    "are not read here. Send `tool_choice` "
    '"required" or the name of a tool to have it called, or "none" for a reply in words.'
)
_COMBINED = frozenset({"$ref", "allOf", "anyOf", "oneOf", "patternProperties", "additionalProperties"})


class Tool(NamedTuple):
    """A function of the caller's; ``parameters`` is the JSON schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The schema as one that permits nothing but an object."""
        return {"type": "object", **self.parameters}


class ToolUse(NamedTuple):
    """The tools of which a reply has to call one, at most ``calls_max`` times; none: it is a text.

    With ``may`` the model chooses whether to call, and its base's chat template tells it of the tools. What
    it calls beyond ``calls_max`` is no part of the reply.
    """

    tools: tuple[Tool, ...] = ()
    calls_max: int = 1
    may: bool = False

    @property
    def has_to(self) -> bool:
        return bool(self.tools) and not self.may

    @property
    def template(self) -> dict[str, Any]:
        """The variables of the chat template that tell of the tools."""
        if not self.may:
            return {}
        told = [{"type": "function", "function": tool._asdict()} for tool in self.tools]
        return {"tools": told, **({PARALLEL: False} if self.calls_max == 1 else {})}

    def told(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Add to the system message which tools there are, and how to call them."""
        if not self.has_to:
            return messages
        lines = [json.dumps(tool._asdict(), ensure_ascii=False) for tool in self.tools]
        form = with_calls("", [ToolCall("", "name", "{}")]).replace("{}}", "{…}}")
        text = "\n".join([f"You call tools by a reply of the form {form}. The tools are:", *lines])
        if messages and messages[0].role == "system":
            if text in messages[0].content:
                # A caller in Python sends back what a turn's messages were.
                return messages
            return (Message("system", f"{messages[0].content}\n\n{text}"), *messages[1:])
        return (Message("system", text), *messages)

    def schema(self) -> str | None:
        """Return the schema of the reply, None if it may be a text."""
        if not self.has_to:
            return None
        definitions = {tool.name: _moved(_closed(tool.arguments), tool.name) for tool in self.tools}
        schema = {
            "type": "array",
            "items": {"anyOf": [_call_of(tool.name) for tool in self.tools]},
            "minItems": 1,
            "maxItems": self.calls_max,
            "$defs": definitions,
        }
        return json.dumps(schema, ensure_ascii=False)


def tool_use(tools: Sequence[Tool], choice: str | None, *, parallel: bool | None, auto: str) -> ToolUse:
    """Decide what a choice comes to: ``none``, ``auto``, ``required``, or the name of a tool after a colon.

    ``auto`` says what becomes of a choice that is left to the model: ``refuse``, ``none`` or ``may``. Without
    tools there is nothing to choose. Several calls are made unless ``parallel`` is False, and of a named tool
    only if it is True.

    Raises ``InvalidRequest`` for two tools of a name, for a choice of what is not there, for too many, and if
    one may be called whose schema is out of bounds.
    """
    if not tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("There are no `tools` to choose from.", "tool_choice")
        return ToolUse()
    if len(tools) > TOOLS_MAX:
        raise InvalidRequest(f"There are {len(tools)} tools, more than {TOOLS_MAX}.", PARAMETER)
    names = [tool.name for tool in tools]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidRequest(f"Two tools have the name {twice[0]!r}.", PARAMETER)
    calls_max = 1 if parallel is False else CALLS_MAX
    if choice in (None, "auto"):
        if auto == "refuse":
            raise InvalidRequest(ADVICE, "tool_choice")
        return ToolUse(_bounded(tools), calls_max, may=True) if auto == "may" else ToolUse()
    if choice == "none":
        return ToolUse()
    if choice == "required":
        return ToolUse(_bounded(tools), calls_max)
    named = _bounded([tool for tool in tools if f":{tool.name}" == choice])
    if not named:
        raise InvalidRequest(f"There is no tool {str(choice)[1:]!r:.80}.", "tool_choice")
    return ToolUse(named, CALLS_MAX if parallel else 1)


def _bounded(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """Check the schemas before they are written into a prompt or followed, both of which is recursive."""
    size = sum(len(schema_text(tool.parameters, PARAMETER).encode()) for tool in tools)
    if size > SCHEMA_BYTES_MAX:
        raise InvalidRequest(f"The tools have more than {SCHEMA_BYTES_MAX} bytes.", PARAMETER)
    return tuple(tools)


def _call_of(name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{name}"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Let objects have no properties that they do not name, here and within, unless they say that they do.

    A small model that may make up properties does nothing else.
    """
    closed = dict(schema)
    if isinstance(properties := closed.get("properties"), Mapping):
        named = cast("Mapping[str, object]", properties)
        closed["properties"] = {name: _closed_within(inner) for name, inner in named.items()}
        if not _COMBINED & closed.keys():
            closed["additionalProperties"] = False
    if "items" in closed:
        closed["items"] = _closed_within(closed["items"])
    return closed


def _closed_within(schema: object) -> object:
    return _closed(cast("Mapping[str, Any]", schema)) if isinstance(schema, Mapping) else schema


def _moved(value: object, name: str) -> object:
    """Make references within a tool's schema lead to its new place."""
    if isinstance(value, Mapping):
        moved = {key: _moved(entry, name) for key, entry in cast("Mapping[str, object]", value).items()}
        reference = moved.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            moved["$ref"] = f"#/$defs/{name}{reference[1:]}"
        return moved
    if isinstance(value, list):
        return [_moved(entry, name) for entry in cast("list[object]", value)]
    return value
