"""The memories of the whole population: each call goes to the host of its model, as other calls do."""

from collections.abc import Sequence

from populace.actors.known import SURE_MIN, Known
from populace.actors.memories import Memories, MemoryView
from populace.actors.turn import Interaction, ModelId
from populace.hosting.directory.router import Router


class MemoryDirectory:
    """Implements ``Memories`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def show(self, model: ModelId, position: int | None = None) -> MemoryView:
        return await self._router.retried(model, Memories.show, model, position)

    async def restore(
        self, model: ModelId, position: int | None, operation: str, *, turn_seconds_max: float = 120.0
    ) -> Interaction:
        # Retrying is safe: the operation id makes it take effect once.
        return await self._router.retried(
            model, Memories.restore, model, position, operation, turn_seconds_max=turn_seconds_max
        )

    async def known(
        self, model: ModelId, questions: Sequence[str], *, sure_min: float = SURE_MIN, wait: bool = False
    ) -> Known:
        return await self._router.retried(
            model, Memories.known, model, questions, sure_min=sure_min, wait=wait
        )
