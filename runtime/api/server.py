"""What a client learns first: who it is to this server, and what is served."""

from typing import Literal

from populace.actors.engine import BaseInfo
from populace.api.objects import ApiObject

API_VERSION = 1
"""Raised when a client of the number before could not work any more."""


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
    """The population that the caller's key is for. ``version`` is that of the server's package."""

    object: Literal["population"] = "population"
    version: str
    api: int
    tenant: str
    base: BaseObject
    turn_seconds_max: float
