"""The route of a request, which is told and counted in place of its path."""

from starlette.types import Scope


def route_of(scope: Scope) -> str | None:
    """Return the route's path with its parameters' names; the path itself has those of people.

    None before a route was found, or without one.
    """
    return getattr(scope.get("route"), "path", None) or None
