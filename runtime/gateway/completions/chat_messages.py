"""The messages of a chat, as clients send them."""

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from pydantic import Discriminator, Field, Tag, model_validator

from populace.actors.engine import Message
from populace.actors.sent_back import SentBack, with_refusal_as_content
from populace.actors.tool_calls import TOOL_ROLE, Said, messages_of
from populace.api.tool_choices import CALLS_SENT_MAX, ToolCallObject
from populace.gateway.http.body import LIST_BRANCH, REFUSAL_BRANCH, TEXT_BRANCH, Body, Branch, Text

NOT_TEXT = ("image_url", "input_audio", "video_url", "audio_url", "file")
"""Types of parts that OpenAI's or vLLM's chats have, and messages here have not."""


class TextPart(SentBack, Body):
    type: Literal["text"]
    text: Text

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        given = cast("dict[object, object]", value) if isinstance(value, dict) else {}
        if given.get("type") in NOT_TEXT:
            raise ValueError(f"a part of the type {given['type']} is not read: messages are text alone")
        return cast("object", value)


class RefusalPart(SentBack, Body):
    """What an assistant said instead of an answer, as a population that has none; it is read as said."""

    type: Literal["refusal"]
    refusal: Text

    @property
    def text(self) -> str:
        return self.refusal


def part_branch(value: object) -> str:
    kind = cast("dict[object, object]", value).get("type") if isinstance(value, dict) else None
    return REFUSAL_BRANCH if kind == "refusal" or isinstance(value, RefusalPart) else TEXT_BRANCH


Part = Annotated[
    Annotated[TextPart, Tag(TEXT_BRANCH)] | Annotated[RefusalPart, Tag(REFUSAL_BRANCH)],
    Discriminator(part_branch),
]


class ChatMessage(SentBack, Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[
        Annotated[Text, Tag(TEXT_BRANCH)] | Annotated[list[Part], Field(min_length=1), Tag(LIST_BRANCH)],
        Branch,
    ]
    name: Text | None = None
    tool_calls: Annotated[list[ToolCallObject], Field(max_length=CALLS_SENT_MAX)] | None = None
    tool_call_id: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_words(cls, value: object) -> object:
        """A message that calls tools needs no content; one that was cut off before its call has none.

        That of a refusal is what it refused with.
        """
        read = with_refusal_as_content(value)
        given = cast("dict[object, object]", read) if isinstance(read, dict) else {}
        if given.get("role") != "assistant":
            return cast("object", read)
        content = given.get("content")
        is_empty = content is None or (given.get("tool_calls") and not content)
        return {**given, "content": ""} if is_empty else given

    @model_validator(mode="after")
    def _fits_its_role(self) -> "ChatMessage":
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only a message of the role assistant has `tool_calls`")
        if not isinstance(self.content, str):
            check_refusals(self.role, self.content)
        if self.tool_call_id and self.role != TOOL_ROLE:
            raise ValueError("only a message of the role tool has a `tool_call_id`")
        return self

    def said(self) -> Said:
        content = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        role = "system" if self.role == "developer" else self.role
        return Said(role, content, tuple(call.value() for call in self.tool_calls or ()), self.tool_call_id)


def check_refusals(role: str, parts: Sequence[object]) -> None:
    """Raise ``ValueError`` for a refusal in a message that is not the assistant's."""
    if role != "assistant" and any(isinstance(part, RefusalPart) for part in parts):
        raise ValueError("only a message of the role assistant has parts of the type refusal")


def messages_read(sent: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """Return what the model reads. Raises ``InvalidRequest`` for results of tools without their calls."""
    return messages_of([message.said() for message in sent])
