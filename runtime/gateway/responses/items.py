"""The items of inputs and of conversations: messages, calls of the caller's functions, and their results."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from populace.actors.engine import Message
from populace.actors.sent_back import SentBack
from populace.actors.tool_calls import TOOL_ROLE, Said, ToolCall, in_order, said_of
from populace.api.responses import (
    FunctionCall,
    FunctionCallOutput,
    InputMessage,
    InputText,
    Item,
    OutputMessage,
    OutputText,
)
from populace.api.tool_choices import ToolName
from populace.gateway.completions.chat_messages import RefusalPart, check_refusals, part_branch
from populace.gateway.http.body import (
    CALL_BRANCH,
    LIST_BRANCH,
    MESSAGE_BRANCH,
    REFERENCE_BRANCH,
    REFUSAL_BRANCH,
    RESULT_BRANCH,
    TEXT_BRANCH,
    Body,
    Branch,
    NonEmptyText,
    Text,
)


def type_of(value: object) -> str | None:
    """Return the type that an item or a part says it is of, if it says one."""
    kind = cast("dict[object, object]", value).get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


class TextPart(SentBack, Body):
    """A part of a message. What a reply's part has besides is accepted, as clients send replies back."""

    type: Literal["input_text", "output_text", "text"]
    text: Text
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        kind = type_of(value)
        if kind in ("input_image", "input_file", "input_audio"):
            raise ValueError(f"a part of the type {kind} is not read: messages are text alone")
        return value


Part = Annotated[
    Annotated[TextPart, Tag(TEXT_BRANCH)] | Annotated[RefusalPart, Tag(REFUSAL_BRANCH)],
    Discriminator(part_branch),
]
Parts = Annotated[
    Annotated[Text, Tag(TEXT_BRANCH)] | Annotated[list[TextPart], Field(min_length=1), Tag(LIST_BRANCH)],
    Branch,
]
MessageParts = Annotated[
    Annotated[Text, Tag(TEXT_BRANCH)] | Annotated[list[Part], Field(min_length=1), Tag(LIST_BRANCH)],
    Branch,
]


def _text_of(parts: str | Sequence[TextPart | RefusalPart]) -> str:
    return parts if isinstance(parts, str) else "".join(part.text for part in parts)


class MessageItem(SentBack, Body):
    """A message. ``id``, ``status`` and ``phase`` come with those that are sent back, and change nothing."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: MessageParts
    id: Text | None = None
    status: Text | None = None
    phase: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_a_message(cls, value: object) -> object:
        kind = type_of(value)
        if kind not in (None, "message"):
            raise ValueError(
                f"an item of the type {kind[:80]} is not read: messages are, function_call, "
                "function_call_output and item_reference"
            )
        return value

    @model_validator(mode="after")
    def _fits_its_role(self) -> "MessageItem":
        if not isinstance(self.content, str):
            check_refusals(self.role, self.content)
        return self

    def said(self) -> Said:
        return Said("system" if self.role == "developer" else self.role, _text_of(self.content))


class FunctionCallItem(Body):
    """A call that is sent back, with whatever its client added: the official one's ``parsed_arguments``."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["function_call"]
    call_id: NonEmptyText
    name: ToolName
    arguments: Text

    def said(self) -> Said:
        return Said("assistant", "", (ToolCall(self.call_id, self.name, self.arguments),))


class FunctionOutputItem(SentBack, Body):
    """What a function of the caller's returned. ``id``, ``name`` and ``status`` change nothing."""

    type: Literal["function_call_output"]
    call_id: NonEmptyText
    output: Parts
    id: Text | None = None
    name: Text | None = None
    status: Text | None = None

    def said(self) -> Said:
        return Said(TOOL_ROLE, _text_of(self.output), answers=self.call_id)


class ReferenceItem(SentBack, Body):
    """An item of a response or a conversation, which is sent back by its id."""

    type: Literal["item_reference"]
    id: NonEmptyText


def _item_branch(value: object) -> str:
    return {
        "function_call": CALL_BRANCH,
        "function_call_output": RESULT_BRANCH,
        "item_reference": REFERENCE_BRANCH,
    }.get(str(type_of(value)), MESSAGE_BRANCH)


InputItem = MessageItem | FunctionCallItem | FunctionOutputItem
SentItem = Annotated[
    Annotated[MessageItem, Tag(MESSAGE_BRANCH)]
    | Annotated[FunctionCallItem, Tag(CALL_BRANCH)]
    | Annotated[FunctionOutputItem, Tag(RESULT_BRANCH)]
    | Annotated[ReferenceItem, Tag(REFERENCE_BRANCH)],
    Discriminator(_item_branch),
]


class ReadItems(NamedTuple):
    """What the model reads of items; ``call_ids`` are those of calls and results, as they come in it."""

    messages: tuple[Message, ...]
    call_ids: tuple[str, ...] = ()


def unanswered(items: Sequence[InputItem]) -> bool:
    """Say whether there is a result before any call: the call has to be in what came before."""
    kinds = [item.type for item in items if item.type != "message"]
    return kinds[:1] == ["function_call_output"]


def read_items(items: Sequence[InputItem], asked: Sequence[str], parameter: str) -> ReadItems:
    """Return what the model reads of items, given the ids of the calls that were ``asked`` before them.

    Calls that follow each other, or a message of the assistant's, are one message with it, as one reply was.
    Raises ``InvalidRequest`` for a result without its call, for a second one, and for calls of one id;
    ``parameter`` names the items.
    """
    said: list[Said] = []
    places: list[int] = []
    for place, item in enumerate(items):
        one = item.said()
        if one.calls and said and said[-1].role == "assistant":
            said[-1] = said[-1]._replace(calls=(*said[-1].calls, *one.calls))
        else:
            said.append(one)
            places.append(place)
    ordered = in_order(said, asked, lambda place, _: f"{parameter}[{places[place]}].call_id")
    return ReadItems(tuple(one.message() for one in ordered), tuple(_call_ids(ordered)))


def shown_items(key: str, messages: Sequence[Message], call_ids: Sequence[str]) -> tuple[Item, ...]:
    """Render messages of the log as the items that they were read from.

    ``key`` is in the items' ids. Without the ``call_ids`` that their client gave, those of a chat, calls and
    results get other ones. The last ids are theirs: the log lacks what was left out of a long input.
    """
    said = said_of(messages)
    own = _call_ids(said)
    names = iter(call_ids[-len(own) :] if len(call_ids) >= len(own) else own)
    items: list[Item] = []
    for index, message in enumerate(said):
        items += _shown(message, f"{key}_{index}", names)
    return tuple(items)


def _shown(message: Said, key: str, call_ids: Iterator[str]) -> list[Item]:
    text = message.content
    if message.role == TOOL_ROLE:
        return [FunctionCallOutput(id=f"fco_{key}", call_id=next(call_ids), output=text)]
    if message.role != "assistant":
        role = "system" if message.role == "system" else "user"
        return [InputMessage(id=f"msg_{key}", role=role, content=(InputText(text=text),))]
    said = OutputMessage(id=f"msg_{key}", content=(OutputText(text=text),))
    calls = [
        FunctionCall(
            id=f"fc_{key}_{number}", call_id=next(call_ids), name=call.name, arguments=call.arguments
        )
        for number, call in enumerate(message.calls)
    ]
    return [said, *calls] if text or not calls else [*calls]


def sent_back(item: Item) -> InputItem:
    """Return a shown item as a client sends it back."""
    shape = {"message": MessageItem, "function_call": FunctionCallItem}.get(item.type, FunctionOutputItem)
    return shape.model_validate(item.model_dump(mode="json"))


def open_calls(items: Sequence[Item]) -> tuple[str, ...]:
    """Return the ids of the calls of the last reply that has any, without those that have a result."""
    asked: list[str] = []
    for before, item in zip((None, *items), items, strict=False):
        if isinstance(item, FunctionCall):
            asked = [*(asked if isinstance(before, FunctionCall) else ()), item.call_id]
        elif isinstance(item, FunctionCallOutput) and item.call_id in asked:
            asked.remove(item.call_id)
    return tuple(asked)


def _call_ids(said: Sequence[Said]) -> list[str]:
    ids: list[str] = []
    for index, one in enumerate(said):
        ids += [call.id for call in one.calls]
        ids += [one.answers or f"call_{index}"] if one.role == TOOL_ROLE else []
    return ids
