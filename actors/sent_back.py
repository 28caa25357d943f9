"""Messages of earlier replies as clients send them back or have recorded them, with every field."""

from typing import cast

from pydantic import BaseModel, model_validator

_EMPTY: tuple[object, ...] = (None, "", [], {})
_REPEATED = frozenset({"parsed", "parsed_arguments"})
"""What the official client makes of a text that stands beside it."""


def with_refusal_as_content(message: object) -> object:
    """Return an assistant's message with the text of its refusal as what it said, if it said nothing else."""
    if not isinstance(message, dict):
        return message
    given = cast("dict[object, object]", message)
    refusal = given.get("refusal")
    says_more = given.get("role") != "assistant" or given.get("content")
    if says_more or not refusal or not isinstance(refusal, str):
        return given
    return {**{name: field for name, field in given.items() if name != "refusal"}, "content": refusal}


class SentBack(BaseModel):
    """Drops unknown fields that are empty or repeat others, as clients send things back with all of theirs.

    One that has content of its own would be lost, so it is refused as unknown.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_empty_extras(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        given = cast("dict[object, object]", value)
        return {
            name: field
            for name, field in given.items()
            if name in cls.model_fields or (field not in _EMPTY and name not in _REPEATED)
        }
