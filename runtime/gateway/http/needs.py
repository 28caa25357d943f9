"""Declares at a route what its caller must be allowed to do."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from populace.actors.api_keys import KeyHolder, Role

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Need(NamedTuple):
    """``role`` is the least that the caller's key has to have; None: it needs no key.

    A route of one model checks the key's models when it resolves the name, with ``http/target.py``. One that
    is about ``all_models`` of the tenant takes no key of some of them.
    """

    role: Role | None
    all_models: bool = False

    def check(self, caller: KeyHolder) -> None:
        """Raise ``RoleNeeded`` or ``AllModelsNeeded`` if the key does not suffice."""
        if self.role is not None:
            caller.check_role(self.role)
        if self.all_models:
            caller.check_all_models()


_DECLARED: dict[Callable[..., Any], Need] = {}


def needs(role: Role, *, all_models: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Declare what a route's endpoint needs; stands below the route's own decorator."""

    def declare(endpoint: Endpoint) -> Endpoint:
        _DECLARED[endpoint] = Need(role, all_models)
        return endpoint

    return declare


def keyless(endpoint: Endpoint) -> Endpoint:
    """Declare that a route is for everybody."""
    _DECLARED[endpoint] = Need(None)
    return endpoint


def need_of(endpoint: Callable[..., Any]) -> Need | None:
    """Return what was declared at an endpoint, None if nothing was."""
    return _DECLARED.get(endpoint)
