"""The tenants of the whole population: what is said of one is in one shard, what it has is in all."""

from functools import reduce

from populace.actors.keepers.tenant_keeper import merged
from populace.actors.tenants import Limits, Tenants, Usage
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router
from populace.policies.placement import KEY_SHARD_TENANT


class TenantDirectory:
    """Implements ``Tenants`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def limits(self, tenant: str) -> Limits:
        return await self._router.retried(_place(tenant), Tenants.limits, tenant)

    async def limit(self, tenant: str, limits: Limits) -> Limits:
        return await self._router.retried(_place(tenant), Tenants.limit, tenant, limits)

    async def usage(self, tenant: str, *, with_bytes: bool = True) -> Usage:
        counted = await self._router.everywhere(Tenants.usage, tenant, with_bytes=with_bytes)
        return reduce(Usage.plus, counted, Usage())

    async def all(self) -> dict[str, Limits]:
        found = reduce(merged, await self._router.everywhere(Tenants.all), {})
        return dict(sorted(found.items()))


def _place(tenant: str) -> ModelId:
    return ModelId(KEY_SHARD_TENANT, tenant)
