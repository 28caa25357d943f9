"""The ``Tracer`` protocol, which actors use for spans. The one that exports is in ``runtime/telemetry``."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

NO_ATTRIBUTES: Mapping[str, object] = {}
"""It must not be changed."""


class Span(Protocol):
    """A part of the work for a request, while it lasts."""

    def set(self, attribute: str, value: object) -> None:
        """Add an attribute. Names of people go in as ``Named`` or ``ModelId``, and nothing that was said."""
        ...


class Tracer(Protocol):
    """Records spans below the one in which this task works; without one, nothing.

    It neither raises nor waits. The attributes of ``actors/span_names.py`` are ours.
    """

    def span(
        self, name: str, attributes: Mapping[str, object] = NO_ATTRIBUTES
    ) -> AbstractContextManager[Span]:
        """Record the block as a span, in which the spans of the block are; an error ends it as such."""
        ...

    def record(
        self,
        name: str,
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, object] = NO_ATTRIBUTES,
    ) -> None:
        """Record what is over already. The times are those of ``time.monotonic``, also of other processes."""
        ...


class NoSpan:
    """A span that is not recorded."""

    def set(self, attribute: str, value: object) -> None:
        """Do nothing."""


class NoTracer:
    """A tracer that records nothing."""

    def span(
        self, name: str, attributes: Mapping[str, object] = NO_ATTRIBUTES
    ) -> AbstractContextManager[Span]:
        return _UNRECORDED

    def record(
        self,
        name: str,
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, object] = NO_ATTRIBUTES,
    ) -> None:
        """Do nothing."""


_UNRECORDED: AbstractContextManager[Span] = nullcontext(NoSpan())
