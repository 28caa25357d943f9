"""The door for spans: ``TRACER``, the tracer of this process. While tracing is off it does nothing.

A span is found by the request for which a task works (``Caller.trace``), so it crosses tasks and processes
where the request does, and log lines name it.
"""

import time
from asyncio import CancelledError
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Literal, Protocol, Self

from populace.actors.span_names import REQUEST_ID
from populace.actors.tracing import NO_ATTRIBUTES, NoSpan
from populace.telemetry.calls import current_caller, serving

Kind = Literal["internal", "server", "client"]

LINKS_MAX = 128
"""Links that a span may have. The SDK would drop the first ones for further ones."""


class Begun(Protocol):
    """A span that was begun. ``trace`` is what makes it the parent of others."""

    trace: bytes

    def set(self, attribute: str, value: object) -> None: ...

    def rename(self, name: str) -> None: ...

    def link(self, trace: bytes) -> None:
        """Name a span of another trace of which this one makes use."""
        ...

    def fail(self, error: BaseException | str) -> None:
        """Mark it as failed, with the code or the type of the error, or with a code."""
        ...

    def end(self, ended_ns: int | None = None) -> None: ...


class Traces(Protocol):
    """Makes spans, and exports those that are kept. Safe from all threads."""

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, object],
        *,
        parent: bytes | None,
        began_ns: int | None = None,
        is_root: bool = False,
    ) -> Begun:
        """Begin a span below ``parent``, or a trace; ``is_root``: this process's part of one."""
        ...

    @property
    def dropped(self) -> int:
        """How many spans could not be exported."""
        ...

    def close(self) -> None: ...


class UnrecordedSpan(NoSpan):
    """A span that is not recorded, as tracing is off or no trace was begun."""

    trace: bytes | None = None

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def rename(self, name: str) -> None:
        """Do nothing."""

    def link(self, trace: bytes) -> None:
        """Do nothing."""

    def fail(self, error: BaseException | str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        return None


class OpenSpan:
    """A span that lasts for a block, or from now to ``end``."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._current: AbstractContextManager[object] | None = None

    @property
    def trace(self) -> bytes | None:
        return self._begun.trace

    def set(self, attribute: str, value: object) -> None:
        self._begun.set(attribute, value)

    def rename(self, name: str) -> None:
        self._begun.rename(name)

    def link(self, trace: bytes) -> None:
        self._begun.link(trace)

    def current(self) -> AbstractContextManager[object]:
        """Put the spans and the calls of a block below this one. The block must not yield to a reader."""
        return serving(current_caller()._replace(trace=self._begun.trace))

    def fail(self, error: BaseException | str) -> None:
        # A cancelled task is a reader that left.
        if not isinstance(error, CancelledError | GeneratorExit):
            self._begun.fail(error)

    def end(self) -> None:
        self._begun.end()

    def __enter__(self) -> Self:
        self._current = self.current()
        self._current.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._current is not None, "it was entered"
        self._current.__exit__(kind, error, traceback)
        if error is not None:
            self.fail(error)
        self.end()


AnySpan = OpenSpan | UnrecordedSpan

UNRECORDED = UnrecordedSpan()


class ProcessTracer:
    """Records the spans of this process, if it was set up to."""

    def __init__(self) -> None:
        self.traces: Traces | None = None
        """What records; ``tracing_setup`` sets it, and nothing else."""

    @property
    def is_on(self) -> bool:
        return self.traces is not None

    @property
    def dropped(self) -> int:
        """How many spans of this process could not be exported; 0 while tracing is off."""
        return 0 if self.traces is None else self.traces.dropped

    def span(
        self, name: str, attributes: Mapping[str, object] = NO_ATTRIBUTES, *, kind: Kind = "internal"
    ) -> AnySpan:
        """Begin a span below the current one, for a block or until ``end``; without one, nothing."""
        if self.traces is None:
            return UNRECORDED
        parent = current_caller().trace
        if parent is None:
            return UNRECORDED
        return OpenSpan(self.traces.begin(name, kind, attributes, parent=parent))

    def root(
        self,
        name: str,
        attributes: Mapping[str, object] = NO_ATTRIBUTES,
        *,
        kind: Kind = "internal",
        joined: bytes | None = None,
    ) -> AnySpan:
        """Begin a trace, or this process's part of one that is ``joined``, for the current request."""
        if self.traces is None:
            return UNRECORDED
        named = {REQUEST_ID: current_caller().request_id, **attributes}
        return OpenSpan(self.traces.begin(name, kind, named, parent=joined, is_root=True))

    def record(
        self,
        name: str,
        began_s: float,
        ended_s: float,
        attributes: Mapping[str, object] = NO_ATTRIBUTES,
    ) -> None:
        """Record a span that is over, below the current one. The times are of the monotonic clock."""
        if self.traces is None:
            return
        parent = current_caller().trace
        if parent is None:
            return
        epoch_ns = time.time_ns() - time.monotonic_ns()
        began_ns, ended_ns = (epoch_ns + int(seconds * 1e9) for seconds in (began_s, ended_s))
        begun = self.traces.begin(name, "internal", attributes, parent=parent, began_ns=began_ns)
        begun.end(max(began_ns, ended_ns))


TRACER = ProcessTracer()
"""The tracer of this process: there is one, as there is one log."""
