"""A reply on its way to whoever asked for it."""

from collections.abc import AsyncGenerator

from populace.actors.engine import Delta
from populace.actors.turn import Interaction, TurnGrant


class RunningReply:
    """A reply that is read delta by delta. It has to be closed, also after an error.

    ``grant`` is the turn that the reply is made in. It is None if the base answers, and if an earlier call
    with the same operation made the turn. ``interaction`` is the turn as the log holds it: from the beginning
    if an earlier call made it, and otherwise once the last delta was read; None if nothing is recorded.
    """

    def __init__(
        self,
        deltas: AsyncGenerator[Delta, None],
        *,
        grant: TurnGrant | None = None,
        interaction: Interaction | None = None,
    ) -> None:
        self._deltas = deltas
        self.grant = grant
        self.interaction = interaction

    def __aiter__(self) -> AsyncGenerator[Delta, None]:
        return self._deltas

    async def aclose(self) -> None:
        """Stop generating, free the engine's slot, and give an unfinished turn back."""
        await self._deltas.aclose()


async def no_deltas() -> AsyncGenerator[Delta, None]:
    """Yield nothing: the reply is in the log already."""
    for nothing in ():
        yield nothing
