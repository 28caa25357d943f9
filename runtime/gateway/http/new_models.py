"""Decides which chats create the personal model that they name."""

from fastapi import Request

from populace.actors.api_keys import KeyHolder
from populace.actors.errors import InvalidRequest
from populace.api.server import NEW_MODEL_HEADER
from populace.gateway.http.context import gateway_of
from populace.policies.foreign_models import is_foreign


def may_create(request: Request, caller: KeyHolder, name: str) -> bool:
    """Whether a turn with a model of this name creates it, if there is none.

    Raises ``InvalidRequest`` for a value of the header other than ``refuse``.
    """
    told = request.headers.get(NEW_MODEL_HEADER)
    if told not in (None, "refuse"):
        raise InvalidRequest(
            f"{NEW_MODEL_HEADER} is `refuse`, or left out; not {told!r:.80}.", NEW_MODEL_HEADER
        )
    creating = gateway_of(request).creating
    return told is None and (creating is None or caller.tenant in creating) and not is_foreign(name)
