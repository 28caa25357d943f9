"""What a client reads first: its tenant at this server, and the base model that is served."""

from typing import Literal

from populace.actors.engine import BaseInfo
from populace.api.objects import ApiObject

TENANT_HEADER = "Populace-Tenant"
"""Names the tenant of a caller in the Ray cluster; with an API key it says nothing."""

API_VERSION = 1
"""Version of the API; it is raised when clients of the previous version could no longer work."""


class BaseObject(ApiObject):
    """The base model; see ``BaseInfo``."""

    name: str
    fingerprint: str
    context_tokens: int
    memory_module: str | None

    @classmethod
    def of(cls, base: BaseInfo) -> "BaseObject":
        return cls(**base._asdict())

    def value(self) -> BaseInfo:
        return BaseInfo(**dict(self))


class PopulationObject(ApiObject):
    """The population that the caller's key gives access to. ``version`` is that of the server's package."""

    object: Literal["population"] = "population"
    version: str
    api: int
    tenant: str
    base: BaseObject
    turn_seconds_max: float
