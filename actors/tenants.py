"""Tenants: what each may take, and what it has."""

from typing import NamedTuple, Protocol


class Limits(NamedTuple):
    """What a tenant may take; None: as much as there is. A key has limits of its own of the first two kinds.

    ``bytes`` are those of the people's logs and adapters.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    people: int | None = None
    bytes: int | None = None
    open_jobs: int | None = None


NO_LIMITS = Limits()


class Usage(NamedTuple):
    """What a tenant has: people, the bytes of their logs and adapters, and trainings that are open."""

    people: int = 0
    bytes: int = 0
    open_jobs: int = 0

    def plus(self, other: "Usage") -> "Usage":
        return Usage(self.people + other.people, self.bytes + other.bytes, self.open_jobs + other.open_jobs)


class Tenants(Protocol):
    """The tenants of a population. Every method may be repeated without harm."""

    async def limits(self, tenant: str) -> Limits:
        """Return what a tenant may take; no limits for one of which nothing was said."""
        ...

    async def limit(self, tenant: str, limits: Limits) -> Limits:
        """Say what a tenant may take, and return that.

        Raises ``InvalidName``, and ``InvalidRequest`` for a limit below 0, or a rate below 1.
        """
        ...

    async def usage(self, tenant: str, *, with_bytes: bool = True) -> Usage:
        """Count what a tenant has. With the bytes it reads a few rows of each of its people, else one."""
        ...

    async def all(self) -> dict[str, Limits]:
        """Return the tenants that have people, a key or a limit, with their limits."""
        ...
