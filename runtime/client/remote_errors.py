"""Turns an error body of the gateway back into the error that was raised there."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from populace.actors import access_errors, draining, passing_on, request_head
from populace.actors import errors as actors
from populace.storage.packed import errors as packed
from populace.storage.records.errors import PopulaceError
from populace.storage.training import errors as training

KNOWN_IN = (access_errors, actors, draining, packed, passing_on, request_head, training)
"""Modules that define the error classes that a gateway may name; importing them registers the classes."""


def error_in(body: bytes, status: int) -> PopulaceError:
    """Rebuild the error of a response, with the class of its code and the fields that it had.

    An error that this client does not know becomes a ``PopulaceError`` with the message.
    """
    try:
        told: Mapping[str, Any] = json.loads(body)["error"]
        return error_of(told)
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode(errors="replace").strip()
        return PopulaceError(f"The server answered {status}{': ' + text if text else ''}.")


def error_of(told: Mapping[str, Any]) -> PopulaceError:
    """Rebuild the error of an error object."""
    message, code = str(told["message"]), told.get("code")
    details: dict[str, Any] = {
        "message": message,
        "parameter": told.get("param"),
        **(told.get("details") or {}),
    }
    for kind in _kinds(PopulaceError):
        if kind.code == code and "code" in vars(kind) and details.keys() >= set(kind.fields):
            return _made(kind, message, {name: details[name] for name in kind.fields})
    unknown = PopulaceError(message)
    vars(unknown)["code"] = code
    return unknown


def _made(kind: type[PopulaceError], message: str, fields: Mapping[str, Any]) -> PopulaceError:
    """Make an error from its fields without its constructor, whose arguments may be others."""
    made = kind.__new__(kind)
    vars(made).update(fields)
    made.args = tuple(fields.values()) or (message,)
    return made


def _kinds(kind: type[PopulaceError]) -> Iterator[type[PopulaceError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)
