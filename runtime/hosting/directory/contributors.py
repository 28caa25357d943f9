"""The consents of the whole population: each call goes to the host of its model, as other calls do."""

from populace.actors.contributors import Contribution, Contributors
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router


class ContributorDirectory:
    """Implements ``Contributors`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def consent(self, model: ModelId, *, agrees: bool) -> Contribution:
        return await self._router.retried(model, Contributors.consent, model, agrees=agrees)

    async def of_model(self, model: ModelId) -> Contribution:
        return await self._router.retried(model, Contributors.of_model, model)

    async def of_tenant(self, tenant: str) -> tuple[Contribution, ...]:
        pages = await self._router.everywhere(Contributors.of_tenant, tenant)
        return tuple(sorted(one for page in pages for one in page))
