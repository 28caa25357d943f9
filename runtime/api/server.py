"""What a client reads first: its tenant at this server, and the base model that is served."""

from typing import Literal

from populace.actors.engine import BaseInfo, SamplingDefaults
from populace.api.objects import ApiObject

TENANT_HEADER = "Populace-Tenant"
"""Names the tenant of a caller in the Ray cluster; with an API key it says nothing."""

API_VERSION = 1
"""Version of the API; it is raised when clients of the previous version could no longer work."""


class SamplingObject(ApiObject):
    """What a request samples by that does not say it; see ``SamplingDefaults``."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float


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
            sampling=SamplingObject(**base.sampling._asdict()),
        )

    def value(self) -> BaseInfo:
        sampling = SamplingDefaults(**dict(self.sampling))
        return BaseInfo(self.name, self.fingerprint, self.context_tokens, self.memory_module, sampling)


class PopulationObject(ApiObject):
    """The population that the caller's key gives access to. ``version`` is that of the server's package."""

    object: Literal["population"] = "population"
    version: str
    api: int
    tenant: str
    base: BaseObject
    turn_seconds_max: float
