"""The errors of keys: who is not known, and who asks for more than their key gives.

::

    PopulaceError
    ├── Unauthorized               no key, or one that is not known
    ├── KeyExpired                 the key ended
    ├── RoleNeeded                 the key's role does not suffice
    ├── ModelNotOfKey              the key is for other models
    ├── AllModelsNeeded            the key is for some models, and this is about all
    ├── KeyNotFound                no key has this id
    └── Refused (errors.py)
        └── LimitReached           the tenant or its key has taken what it may
"""

from populace.actors.errors import Refused
from populace.storage.records.errors import PopulaceError


class Unauthorized(PopulaceError):
    """The request carries no API key, or one that is not known."""

    code = "invalid_api_key"

    def __init__(self, message: str = "Incorrect API key provided. `populace key create` makes one.") -> None:
        super().__init__(message)


class KeyExpired(PopulaceError):
    """The API key ended at the time ``ended``, of UTC. What had begun before goes on to its end."""

    code = "key_expired"
    template = "This API key ended at {ended} UTC. `populace key create` makes one."

    ended: str


class RoleNeeded(PopulaceError, logged=("needed", "role")):
    """The role of the API key does not suffice. Nothing was done."""

    code = "role_needed"
    template = "This needs an API key with the role `{needed}`, and this key has the role `{role}`."

    needed: str
    role: str


class ModelNotOfKey(PopulaceError):
    """The API key is for other models. Whether there is such a model is not told. ``models`` are its own."""

    code = "model_not_of_key"
    template = (
        "This API key is for {models}: `{model}` needs a key with the role `tenant` that names it, or that "
        "names no models."
    )

    model: str
    models: str


class AllModelsNeeded(PopulaceError):
    """The request is about all models of a tenant, and its API key is for some of them."""

    code = "all_models_needed"
    template = (
        "This is about all models of the tenant, and this API key is for {models}: it needs a key with the "
        "role `tenant` that names no models."
    )

    models: str


class KeyNotFound(PopulaceError):
    """No API key has this id."""

    code = "key_not_found"
    template = "There is no API key with the id {key_id:.80}. `populace key ls` shows them."

    key_id: str


class LimitReached(Refused):
    """The tenant, or its key, has taken what it may: ``limit`` is what that is, ``limit_name`` of what.

    Without ``retry_after_s`` waiting does not help: something has to be removed, or the limit raised.
    """

    code = "rate_limit_exceeded"

    limit_name: str = ""
