"""The buckets of the whole population: a tenant's are at the host that has what is said of it."""

from collections.abc import Sequence

from populace.actors.rates import Ask, Rates, Taken
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router
from populace.policies.placement import KEY_SHARD_TENANT


class RateDirectory:
    """Implements ``Rates`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def take(self, tenant: str, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        return await self._router.retried(ModelId(KEY_SHARD_TENANT, tenant), Rates.take, tenant, asks)
