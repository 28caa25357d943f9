"""What clients send back of replies, or recorded of them: with all the fields that they gave it."""

from typing import cast

from pydantic import BaseModel, model_validator

_EMPTY: tuple[object, ...] = (None, "", [], {})


class SentBack(BaseModel):
    """Drops unknown fields that are empty, because clients send things back with all of theirs.

    One that has content would be lost, so it is refused as unknown.
    """

    @model_validator(mode="before")
    @classmethod
    def _without_empty_extras(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        given = cast("dict[object, object]", value)
        return {
            name: field for name, field in given.items() if name in cls.model_fields or field not in _EMPTY
        }
