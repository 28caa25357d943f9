"""The base class of all objects of the API, and lists of them."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, computed_field

T = TypeVar("T")


class ApiObject(BaseModel):
    """An object of a response. A client ignores fields that a newer server adds."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Listing(ApiObject, Generic[T]):
    """A whole list."""

    object: Literal["list"] = "list"
    data: tuple[T, ...]


class Page(Listing[T], Generic[T]):
    """A part of a list; ``after`` is the parameter for the next part, null at the end."""

    after: str | None

    @computed_field
    @property
    def has_more(self) -> bool:
        return self.after is not None


class PartialPage(Page[T], Generic[T]):
    """A page of a list that does without what is damaged: ``missing`` names it, ``shard N`` or a model."""

    missing: tuple[str, ...] = ()


def example(**fields: JsonValue) -> ConfigDict:
    """Show an object with these fields in its schema; a model's configuration."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def examples_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the examples in a model's schema."""
    shown: Any = model.model_config.get("json_schema_extra")
    return shown["examples"]


def seconds(milliseconds: int) -> int:
    return milliseconds // 1000


def milliseconds(seconds: int) -> int:
    return seconds * 1000
