"""Lists of items, of a response's input or of a conversation, in pages as OpenAI's."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query

from populace.actors.errors import InvalidRequest
from populace.api.responses import Item, ItemList
from populace.gateway.responses.schema import Includable

ITEMS_MAX = 100

Included = Annotated[list[Includable] | None, Query(alias="include")]
IncludedArray = Annotated[list[Includable] | None, Query(alias="include[]")]
"""The official client's form of a list. Nothing of what may be included is in a log."""


class ItemPage:
    """Which items a request asks for, the last first unless ``order`` is ``asc``; a dependency of routes."""

    def __init__(
        self,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=ITEMS_MAX)] = 20,
        order: Literal["asc", "desc"] = "desc",
        include: Included = None,
        include_array: IncludedArray = None,
    ) -> None:
        del include, include_array
        self._after, self._limit, self._order = after, limit, order

    def of(self, items: Sequence[Item]) -> ItemList:
        """Return this page of items in rising order. Raises ``InvalidRequest`` for an unknown id."""
        ordered = tuple(items if self._order == "asc" else reversed(items))
        ids = [item.id for item in ordered]
        if self._after is not None and self._after not in ids:
            raise InvalidRequest(f"There is no item {self._after[:200]!r} here.", "after")
        start = 0 if self._after is None else ids.index(self._after) + 1
        return ItemList.of(ordered[start : start + self._limit], has_more=start + self._limit < len(ordered))
