"""The API object that a client reads first: its tenant at this server, and the base that is served."""

from typing import Literal

from populace.actors.engine import BaseInfo, SamplingDefaults
from populace.api.objects import ApiObject

TENANT_HEADER = "Populace-Tenant"
"""Names the tenant of a caller in the Ray cluster; with an API key it says nothing."""

DISCONNECT_HEADER = "Populace-On-Disconnect"
"""``cancel`` gives a chat's turn up when its client disconnects, also with an ``Idempotency-Key``."""

NEW_MODEL_HEADER = "Populace-New-Model"
"""``refuse`` has a chat with an unknown model refused, also where it would create the model."""

API_VERSION = 1
"""Version of the API; it is raised when clients of the previous version could no longer work."""


class HealthObject(ApiObject):
    """A process that responds."""

    status: Literal["ok"]


class ReadinessObject(ApiObject):
    """Whether a server serves, and what of it does not.

    It is ready with an engine and at least one host. ``degraded`` says of each part that does not do all of
    its work what it lacks; ``unserved_share`` of the people, in [0, 1], are refused meanwhile. ``gateways``
    are those that answer, with the addresses that they listen at, by number. ``draining``: it finishes what
    runs, takes nothing new, and stops.
    """

    status: Literal["ready", "not_ready", "draining"]
    hosts: Literal["ok", "degraded", "unavailable"]
    engine: Literal["ok", "degraded", "unavailable"]
    degraded: dict[str, str]
    unserved_share: float
    gateways: dict[str, str] = {}


class SamplingObject(ApiObject):
    """What a request samples by that does not say it; see ``SamplingDefaults``."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    ends_degenerate: bool = False
    min_p: float = 0.0
    own_words_penalty: float = 1.0

    @classmethod
    def of(cls, sampling: SamplingDefaults) -> "SamplingObject":
        return cls(**sampling._asdict())

    def value(self) -> SamplingDefaults:
        return SamplingDefaults(**dict(self))


class BaseObject(ApiObject):
    """The base model; see ``BaseInfo``."""

    name: str
    fingerprint: str
    context_tokens: int
    memory_module: str | None
    sampling: SamplingObject

    @classmethod
    def of(cls, base: BaseInfo) -> "BaseObject":
        return cls(
            name=base.name,
            fingerprint=base.fingerprint,
            context_tokens=base.context_tokens,
            memory_module=base.memory_module,
            sampling=SamplingObject.of(base.sampling),
        )

    def value(self) -> BaseInfo:
        return BaseInfo(
            self.name, self.fingerprint, self.context_tokens, self.memory_module, self.sampling.value()
        )


class PopulationObject(ApiObject):
    """The population that the caller's key gives access to. ``version`` is that of the server's package."""

    object: Literal["population"] = "population"
    version: str
    api: int
    tenant: str
    base: BaseObject
    turn_seconds_max: float
