"""The suites of the whole population: each call goes to the host of its model, as other calls do."""

from populace.actors.suites import Suite, Suites
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router


class SuiteDirectory:
    """Implements ``Suites`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def show(self, model: ModelId) -> Suite:
        return await self._router.retried(model, Suites.show, model)

    async def keep(self, model: ModelId, suite: Suite) -> Suite:
        return await self._router.retried(model, Suites.keep, model, suite)

    async def remove(self, model: ModelId) -> None:
        await self._router.retried(model, Suites.remove, model)
