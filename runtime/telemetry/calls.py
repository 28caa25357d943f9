"""The request for which a task works: its log lines name it, and its calls carry it to other processes.

It says nothing of what a call does: an operation that is sent again with another ``Caller`` is the same one.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import NamedTuple

SentCaller = tuple[str | None, bytes | None, str | None]
"""A ``Caller`` on its way to another process, which may run another release: a plain tuple."""


class Caller(NamedTuple):
    """Which request it is. ``trace`` is the span that called, as the 26 bytes of a W3C ``traceparent``.

    ``tenant`` is the keyed hash of the tenant whose key the request has, who may read its log lines. None:
    there is no request, it is not traced, or it had no valid key.
    """

    request_id: str | None = None
    trace: bytes | None = None
    tenant: str | None = None

    @property
    def trace_id(self) -> str | None:
        return None if self.trace is None else self.trace[1:17].hex()

    @property
    def span_id(self) -> str | None:
        return None if self.trace is None else self.trace[17:25].hex()


UNKNOWN = Caller()

_current: ContextVar[Caller] = ContextVar("populace_caller", default=UNKNOWN)


def current_caller() -> Caller:
    """Return the request that this task serves; all of it is None outside of a request."""
    return _current.get()


def current_request_id() -> str | None:
    """Return the id of the request that this task serves; None outside of a request."""
    return _current.get().request_id


@contextmanager
def serving(caller: Caller) -> Generator[None]:
    """Work for a request during the block, with all tasks that begin in it."""
    token = _current.set(caller)
    try:
        yield
    finally:
        _current.reset(token)


def belongs_to(tenant: str | None) -> None:
    """From now on the request of this task is that of a tenant, given by its keyed hash, until it ends."""
    _current.set(_current.get()._replace(tenant=tenant))


def sent_caller() -> SentCaller | None:
    """Return what a call to another process carries of this task's request; None if there is none."""
    caller = _current.get()
    return None if caller == UNKNOWN else (caller.request_id, caller.trace, caller.tenant)


def context_of(sent: SentCaller | None) -> Context:
    """Return a context for the task of a call that arrived with what ``sent_caller`` gave."""
    context = copy_context()
    context.run(_current.set, caller_of(sent))
    return context


def caller_of(sent: SentCaller | None) -> Caller:
    """Return the request that a call has arrived for, from what ``sent_caller`` gave."""
    return UNKNOWN if sent is None else Caller(*sent)
