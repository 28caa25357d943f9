"""The operations that cross Ray: the methods of the hosts' protocols, in a closed table by name.

A caller passes the protocol's own method, so that its arguments and its result are checked and its definition
is found. Only its name is sent, and a host runs no name that is not in the table.
"""

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar, cast

from populace.actors.api_keys import ApiKeys
from populace.actors.contributors import Contributors
from populace.actors.forgetting import Forgetting
from populace.actors.hosts import Hosts
from populace.actors.members import Members
from populace.actors.memories import Memories
from populace.actors.rates import Rates
from populace.actors.span_names import HOST_CALL, REPLAYED
from populace.actors.suites import Suites
from populace.actors.tenants import Tenants
from populace.actors.training import TrainingJobs
from populace.actors.turn import Interaction, TurnGrant
from populace.telemetry.calls import SentCaller
from populace.telemetry.tracing.spans import TRACER

P = ParamSpec("P")
T = TypeVar("T")

Method = Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]
"""A method as its protocol declares it, like ``Hosts.begin_turn``."""

Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""An operation's name, its arguments and its keyword arguments."""

SentCall = tuple[str, tuple[Any, ...], dict[str, Any], SentCaller | None]
"""A call as it is sent, with the request that it is for."""

PROTOCOLS: Final = {
    "": Hosts,
    "jobs.": TrainingJobs,
    "forgetting.": Forgetting,
    "memories.": Memories,
    "members.": Members,
    "suites.": Suites,
    "keys.": ApiKeys,
    "tenants.": Tenants,
    "rates.": Rates,
    "contributors.": Contributors,
}
"""The protocols that a host implements, by what stands before their methods' names."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[P, T]):
    """A method of the hosts as it is sent by name, like ``begin_turn`` or ``jobs.ask``.

    ``on_lost`` returns the call that takes back a result whose caller is gone, or None if it may stay. With
    ``is_for_caller`` only the caller needs it to end, with ``ends_grant`` it ends the turn of the grant
    that is its first argument.
    """

    name: str
    on_lost: Callable[[T], Call | None]
    is_for_caller: bool = False
    ends_grant: bool = False
    is_sent_once: bool = False
    """Whether it is not sent again after a lost response, as it would fail then, or take effect twice."""

    async def run(self, host: Hosts, *args: P.args, **options: P.kwargs) -> T:
        """Run the operation on a host in this process."""
        with TRACER.span(f"{HOST_CALL}.{self.name}", kind="server") as span:
            result: T = await attrgetter(self.name)(host)(*args, **options)
            if isinstance(result, Interaction):
                span.set(REPLAYED, result.replayed)
            return result


def declared_by(protocol: type) -> dict[str, Any]:
    """Return what a protocol declares, by name, with what it has from the client's part of it."""
    parts = reversed(protocol.__mro__[: protocol.__mro__.index(Protocol)])
    return {name: declared for part in parts for name, declared in vars(part).items()}


def operation_of(method: Method[P, T]) -> Operation[P, T]:
    """Return the operation of a protocol's method; raises ``KeyError`` for any other function."""
    return cast("Operation[P, T]", _OPERATION_OF[method])


def _abandon_grant(result: object) -> Call | None:
    """An abandoned grant would keep its model busy until the turn's deadline."""
    return ("abandon_turn", (result, "its caller left"), {}) if isinstance(result, TurnGrant) else None


_ON_LOST: dict[Callable[..., Any], Callable[[Any], Call | None]] = dict.fromkeys(
    (Hosts.begin_turn, Hosts.accept_turn), _abandon_grant
)

_FOR_CALLER = (Hosts.begin_turn, Hosts.begin_peek, Hosts.chat, Hosts.peek)

_SENT_ONCE = (
    Hosts.abandon_turn,
    Hosts.create_model,
    Hosts.erase_model,
    Hosts.import_model,
    Hosts.remove_alias,
)

_OPERATION_OF: dict[Callable[..., Any], Operation[..., Any]] = {
    method: Operation(
        prefix + name,
        _ON_LOST.get(method, lambda _: None),
        is_for_caller=method in _FOR_CALLER,
        ends_grant=method in (Hosts.finish_turn, Hosts.abandon_turn),
        is_sent_once=method in _SENT_ONCE,
    )
    for prefix, protocol in PROTOCOLS.items()
    for name, method in declared_by(protocol).items()
    if inspect.iscoroutinefunction(method)
}

OPERATIONS: dict[str, Operation[..., Any]] = {
    operation.name: operation for operation in _OPERATION_OF.values()
}
"""All operations by name."""
