"""The messages of a chat, as clients send them."""

from typing import Annotated, Literal, cast

from pydantic import Field, Tag, model_validator

from populace.actors.engine import Message
from populace.gateway.body import LIST_BRANCH, TEXT_BRANCH, Body, Branch, Text


def _is_empty(value: object) -> bool:
    return value is None or value in ("", [], {})


class TextPart(Body):
    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag(TEXT_BRANCH)] | Annotated[list[TextPart], Field(min_length=1), Tag(LIST_BRANCH)],
        Branch,
    ]
    name: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty_extras(cls, value: object) -> object:
        """Drop unknown parameters that are empty, because clients send replies back with all their fields.

        A refusal, an annotation or a tool call that has content would be lost, so it is refused as unknown.
        """
        if not isinstance(value, dict):
            return value
        given = cast("dict[object, object]", value)
        return {
            name: field for name, field in given.items() if name in cls.model_fields or not _is_empty(field)
        }

    def message(self) -> Message:
        content = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return Message("system" if self.role == "developer" else self.role, content)
