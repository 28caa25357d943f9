"""Forgetting in the whole population: each call goes to the host of its model, as other calls do."""

from collections.abc import Sequence

from populace.actors.forgetting import Forgetting, Forgotten, MemoryAfter
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router


class ForgettingDirectory:
    """Implements ``Forgetting`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def find(self, model: ModelId, words: str) -> Forgotten:
        return await self._router.retried(model, Forgetting.find, model, words)

    async def forget(
        self,
        model: ModelId,
        what: str | Sequence[int],
        operation: str,
        *,
        memory: MemoryAfter = "folded",
        turn_seconds_max: float = 120.0,
    ) -> Forgotten:
        # Retrying is safe: the operation id makes it take effect once.
        return await self._router.retried(
            model,
            Forgetting.forget,
            model,
            what,
            operation,
            memory=memory,
            turn_seconds_max=turn_seconds_max,
        )
