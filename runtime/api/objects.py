"""The base class of all objects of the API, and lists of them."""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, computed_field

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


def seconds(milliseconds: int) -> int:
    return milliseconds // 1000


def milliseconds(seconds: int) -> int:
    return seconds * 1000
