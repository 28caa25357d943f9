"""API keys and tenants, as those who look after the service see them."""

from typing import Any, Literal

from populace.actors.api_keys import ApiKey, Role
from populace.actors.tenants import Limits, Usage
from populace.api.objects import ApiObject, example, examples_of, seconds


class KeyLimitsObject(ApiObject):
    """What a key may take in a minute, beside the limits of its tenant; null: no limit of its own."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class LimitsObject(KeyLimitsObject):
    """What a tenant may take; null: as much as there is. ``bytes`` are those of its logs and adapters."""

    people: int | None = None
    bytes: int | None = None
    open_jobs: int | None = None

    @classmethod
    def of(cls, limits: Limits) -> "LimitsObject":
        return cls(**limits._asdict())


class KeyObject(ApiObject):
    """An API key without its secret.

    With ``models`` it is for these alone. It was used at ``last_used``, or up to some minutes later; null:
    never, since keys tell it. Until ``former_secret_until`` the secret before the last rotation counts.
    """

    model_config = example(
        object="api_key",
        id="8c1f0e7a5b3d2c49",
        tenant="acme",
        label="acme's backend",
        role="tenant",
        models=["ada", "bob"],
        state="valid",
        created=1764547200,
        expires=1796083200,
        last_used=1764633600,
        former_secret_until=1764637200,
        limits={"requests_per_minute": 600, "tokens_per_minute": 60_000},
    )

    object: Literal["api_key"] = "api_key"
    id: str
    tenant: str
    label: str
    role: Role
    models: tuple[str, ...] | None
    state: Literal["valid", "expired", "revoked"]
    created: int
    expires: int | None
    last_used: int | None
    former_secret_until: int | None
    limits: KeyLimitsObject

    @classmethod
    def of(cls, key: ApiKey, *, now_ms: int) -> "KeyObject":
        return cls(**_told(key, now_ms))


class NewKeyObject(KeyObject):
    """An API key with its secret, which is told once."""

    model_config = example(
        **examples_of(KeyObject)[0]
        | {
            "last_used": 1764547200,
            "key": "populace_8c1f0e7a5b3d2c49_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
        }
    )

    key: str

    @classmethod
    def made(cls, key: ApiKey, text: str, *, now_ms: int) -> "NewKeyObject":
        return cls(**_told(key, now_ms), key=text)


class TenantObject(ApiObject):
    """A tenant and its limits."""

    model_config = example(
        object="tenant",
        id="acme",
        limits={
            "requests_per_minute": 6000,
            "tokens_per_minute": 600_000,
            "people": 1000,
            "bytes": 10_000_000_000,
            "open_jobs": 16,
        },
    )

    object: Literal["tenant"] = "tenant"
    id: str
    limits: LimitsObject


class TenantUsageObject(TenantObject):
    """A tenant, its limits, and what it has: people, bytes of their logs and adapters, open trainings."""

    model_config = example(
        **examples_of(TenantObject)[0] | {"people": 412, "bytes": 1_288_490_188, "open_jobs": 2}
    )

    people: int
    bytes: int
    open_jobs: int

    @classmethod
    def of(cls, tenant: str, limits: Limits, usage: Usage) -> "TenantUsageObject":
        return cls(id=tenant, limits=LimitsObject.of(limits), **usage._asdict())


def _told(key: ApiKey, now_ms: int) -> dict[str, Any]:
    state = "revoked" if key.revoked_ms is not None else "expired" if key.has_ended(now_ms) else "valid"
    former_ms = key.former_until_ms
    return {
        "id": key.key_id,
        "tenant": key.tenant,
        "label": key.label,
        "role": key.role,
        "models": key.models,
        "state": state,
        "created": seconds(key.created_ms),
        "expires": None if key.expires_ms is None else seconds(key.expires_ms),
        "last_used": None if key.used_ms is None else seconds(key.used_ms),
        "former_secret_until": seconds(former_ms) if former_ms > now_ms else None,
        "limits": KeyLimitsObject(
            requests_per_minute=key.limits.requests_per_minute,
            tokens_per_minute=key.limits.tokens_per_minute,
        ),
    }
