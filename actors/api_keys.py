"""API keys: whose they are, what they may do, and until when."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from populace.actors.access_errors import AllModelsNeeded, ModelNotOfKey, RoleNeeded
from populace.actors.tenants import NO_LIMITS, Limits

Role = Literal["read", "tenant", "admin"]
"""What a key may do: read what its tenant has, do all with it, or look after the service as well."""

ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret; ``secret_sha256`` is what is compared.

    With ``models`` it is for these models of its tenant alone, of which one may be ``base``. It ends at
    ``expires_ms``, and was used last at about ``used_ms``. Until ``former_until_ms`` the secret that it had
    before its last rotation counts as well. ``limits`` are its own, of requests and tokens alone, beside its
    tenant's.
    """

    key_id: str
    tenant: str
    label: str
    secret_sha256: bytes
    created_ms: int
    revoked_ms: int | None = None
    role: Role = "tenant"
    models: tuple[str, ...] | None = None
    expires_ms: int | None = None
    used_ms: int | None = None
    former_sha256: bytes = b""
    former_until_ms: int = 0
    limits: Limits = NO_LIMITS

    def has_ended(self, now_ms: int) -> bool:
        return self.expires_ms is not None and self.expires_ms <= now_ms


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The sender of a request, as its API key tells: who it is and what it may do.

    ``key_id`` is None for a caller in the Ray cluster, which may do everything. ``models`` None are all of
    the tenant's. A key that ends at ``expires_ms`` had not ended when the request came. ``limits`` are its
    tenant's, and ``key_limits`` those of the key alone.
    """

    tenant: str
    key_id: str | None = None
    role: Role = "tenant"
    models: frozenset[str] | None = None
    expires_ms: int | None = None
    limits: Limits = NO_LIMITS
    key_limits: Limits = NO_LIMITS

    @classmethod
    def of(cls, key: ApiKey, limits: Limits = NO_LIMITS) -> "KeyHolder":
        """Return the holder of a key of a tenant with these ``limits``."""
        models = None if key.models is None else frozenset(key.models)
        return cls(key.tenant, key.key_id, key.role, models, key.expires_ms, limits, key.limits)

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models

    def check_role(self, needed: Role) -> None:
        """Raise ``RoleNeeded`` unless the key may do what this role may."""
        if ROLES.index(self.role) < ROLES.index(needed):
            raise RoleNeeded(needed, self.role)

    def check_model(self, model: str) -> None:
        """Raise ``ModelNotOfKey`` unless the key is for this model, or for all of the tenant's."""
        if not self.may_use(model):
            raise ModelNotOfKey(model[:128], self._named_models())

    def check_all_models(self) -> None:
        """Raise ``AllModelsNeeded`` if the key is for some of the tenant's models alone."""
        if self.models is not None:
            raise AllModelsNeeded(self._named_models())

    def _named_models(self) -> str:
        return ", ".join(sorted(self.models or ()))


class ApiKeys(Protocol):
    """The API keys of all tenants. Every method may be repeated without harm."""

    async def create(self, key: ApiKey) -> None:
        """Store a new key.

        Raises ``InvalidName`` for names of a tenant or model that are not allowed, and ``InvalidRequest`` for
        a role and models that do not go together.
        """
        ...

    async def find(self, key_id: str) -> ApiKey | None:
        """Return the key of this id, revoked ones too."""
        ...

    async def of_tenant(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """Return a tenant's keys, or those of all for None, oldest first, revoked ones too."""
        ...

    async def rotate(self, key_id: str, secret_sha256: bytes, *, grace_ms: int) -> ApiKey | None:
        """Give a key a new secret, and let the former one count for ``grace_ms`` more; return the key.

        None if no key has that id. With the same secret again nothing changes. Raises ``InvalidRequest`` for
        a key that is revoked.
        """
        ...

    async def limit(self, key_id: str, limits: Limits) -> ApiKey | None:
        """Say how many requests and tokens a minute a key may take; return it, None if there is none.

        Raises ``InvalidRequest`` for a rate below 1, and for limits that only a tenant has.
        """
        ...

    async def note_use(self, key_id: str) -> None:
        """Note that a key is used now. It is written with the next minute's other work of the host."""
        ...

    async def revoke(self, key_id: str) -> ApiKey | None:
        """Revoke a key; return it, or None if no key has that id. The time of the first revocation stays."""
        ...
