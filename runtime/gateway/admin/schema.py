"""The bodies of ``/v1/admin``."""

from typing import Annotated, Literal

from fastapi import Path
from pydantic import Field, JsonValue

from populace.actors.tenants import Limits
from populace.api.objects import example
from populace.gateway.http.body import Body, ExactInteger, Text
from populace.storage.records.keys import NAME_PATTERN

LABEL_CHARACTERS_MAX = 200
YEARS_MAX_SECONDS = 100 * 365 * 24 * 3600
GRACE_SECONDS = 3600

_PATTERN: dict[str, JsonValue] = {"pattern": rf"^{NAME_PATTERN.pattern}$"}

Name = Annotated[Text, Field(json_schema_extra=_PATTERN)]
TenantInPath = Annotated[str, Path(json_schema_extra=_PATTERN)]
Rate = Annotated[ExactInteger, Field(ge=1)] | None
Number = ExactInteger | None
Seconds = Annotated[int, Field(ge=1, le=YEARS_MAX_SECONDS)]


class KeyLimitsBody(Body):
    """``PUT /v1/admin/keys/{key_id}/limits``: all limits of a key, beside those of its tenant."""

    model_config = example(requests_per_minute=600)

    requests_per_minute: Rate = None
    tokens_per_minute: Rate = None

    def limits(self) -> Limits:
        return Limits(**self.model_dump())


class LimitsBody(KeyLimitsBody):
    """``PUT /v1/admin/tenants/{tenant}/limits``: all limits of a tenant; what is left out is none."""

    model_config = example(requests_per_minute=6000, people=1000, open_jobs=16)

    people: Number = None
    bytes: Number = None
    open_jobs: Number = None


class NewKeyBody(Body):
    """``POST /v1/admin/keys``. An unused tenant's name makes a new tenant."""

    model_config = example(tenant="acme", label="acme's backend", role="tenant", expires_in=31536000)

    tenant: Name
    label: Annotated[Text, Field(max_length=LABEL_CHARACTERS_MAX)] = ""
    role: Literal["read", "tenant", "admin"] = "tenant"
    models: Annotated[list[Name], Field(min_length=1, max_length=64)] | None = None
    expires_in: Seconds | None = None
    limits: KeyLimitsBody | None = None


class RotationBody(Body):
    """``POST /v1/admin/keys/{key_id}/rotate``: for how many seconds the former secret counts as well."""

    model_config = example(grace=3600)

    grace: Annotated[int, Field(ge=0, le=YEARS_MAX_SECONDS)] = GRACE_SECONDS
