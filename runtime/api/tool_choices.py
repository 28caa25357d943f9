"""``tools`` and ``tool_choice`` as callers give them, over HTTP and in Python alike; OpenAI's shapes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
)

from populace.actors.errors import InvalidRequest
from populace.actors.response_schema import NAME
from populace.actors.tool_calls import ToolCall
from populace.actors.tool_choice import TOOLS_MAX, Tool, ToolUse, tool_use
from populace.api.text import encodable

WORD_BRANCH, TOOL_BRANCH = "<word>", "<tool>"

ToolName = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Text = Annotated[str, AfterValidator(encodable)]

CALLS_SENT_MAX = 128
"""Calls in one message: other servers' models may make more of them than ours."""


class FunctionObject(_Given):
    """A function of the caller's. Calls keep to its schema whether or not it is ``strict``."""

    name: ToolName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolObject(_Given):
    type: Literal["function"]
    function: FunctionObject

    def value(self) -> Tool:
        """Raises ``InvalidRequest`` unless the parameters are those of an object."""
        function = self.function
        parameters: dict[str, Any] = {"properties": {}}
        if function.parameters is not None:
            parameters = function.parameters
        if parameters.get("type", "object") != "object":
            raise InvalidRequest(f"The parameters of {function.name} must be of the type object.", "tools")
        return Tool(function.name, function.description or "", parameters)


class NamedFunctionObject(_Given):
    name: ToolName


class NamedToolObject(_Given):
    type: Literal["function"]
    function: NamedFunctionObject


class _SentBack(_Given):
    """What a client sends back of a reply, with what it added: the official one's ``parsed_arguments``."""

    model_config = ConfigDict(extra="ignore")


class CalledObject(_SentBack):
    """What was called. The arguments come from a model, so they may be anything."""

    name: ToolName
    arguments: Text


class ToolCallObject(_SentBack):
    """A call that an assistant made, and that its client sends back."""

    id: Annotated[Text, Field(min_length=1)]
    type: Literal["function"] = "function"
    function: CalledObject

    def value(self) -> ToolCall:
        return ToolCall(self.id, self.function.name, self.function.arguments)


def _branch(value: object) -> str | None:
    if isinstance(value, str):
        return WORD_BRANCH
    return TOOL_BRANCH if isinstance(value, dict | NamedToolObject) else None


ChoiceBranch = Discriminator(
    _branch, custom_error_type="word_or_tool", custom_error_message="Input should be a word or a tool"
)
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag(WORD_BRANCH)]
    | Annotated[NamedToolObject, Tag(TOOL_BRANCH)],
    ChoiceBranch,
]
Tools = Annotated[list[ToolObject], Field(max_length=TOOLS_MAX)]

_TOOLS: TypeAdapter[list[ToolObject] | None] = TypeAdapter(Tools | None)
_CALLS: TypeAdapter[list[ToolCallObject]] = TypeAdapter(
    Annotated[list[ToolCallObject], Field(max_length=CALLS_SENT_MAX)]
)
_CHOICE: TypeAdapter[Any] = TypeAdapter(ToolChoice | None)
_PARALLEL: TypeAdapter[bool | None] = TypeAdapter(bool | None, config=ConfigDict(strict=True))


def use_of(
    tools: Sequence[ToolObject] | None,
    choice: str | NamedToolObject | None,
    *,
    parallel: bool | None,
    auto: str,
) -> ToolUse:
    """Decide which tools the reply has to call; see ``tool_use``."""
    word = f":{choice.function.name}" if isinstance(choice, NamedToolObject) else choice
    return tool_use([tool.value() for tool in tools or ()], word, parallel=parallel, auto=auto)


def use_in(options: Mapping[str, Any]) -> ToolUse:
    """Decide it for a Python caller's keywords. Raises ``InvalidRequest`` for input of the wrong shape."""
    return use_of(
        _read(_TOOLS, options.get("tools"), "tools"),
        _read(_CHOICE, options.get("tool_choice"), "tool_choice"),
        parallel=_read(_PARALLEL, options.get("parallel_tool_calls"), "parallel_tool_calls"),
        auto="refuse",
    )


def calls_of(sent: object, parameter: str) -> tuple[ToolCall, ...]:
    """Read the calls of an assistant's message. Raises ``InvalidRequest`` for input of the wrong shape."""
    return tuple(call.value() for call in _read(_CALLS, sent, parameter))


def _read(adapter: TypeAdapter[Any], value: object, parameter: str) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        names = [part for part in problem["loc"] if part not in (WORD_BRANCH, TOOL_BRANCH)]
        where = parameter + "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in names)
        raise InvalidRequest(f"Invalid value for `{where}`: {problem['msg']}.", where) from None
