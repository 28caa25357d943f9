"""A reply on its way to its reader."""

from collections.abc import AsyncGenerator, Callable

from populace.actors.engine import Delta
from populace.actors.turn import Interaction, TurnGrant


class RunningReply:
    """A reply that is read delta by delta. It has to be closed, also after an error.

    ``grant`` is that of the reply's turn. It is None if the base replies, and if an earlier call with the
    same operation made the turn. ``interaction`` is the turn as recorded in the log: from the beginning if
    an earlier call made it, and otherwise once the last delta was read; None if nothing is recorded.
    ``made_model`` is set by who created the model for this reply.
    """

    def __init__(
        self,
        deltas: AsyncGenerator[Delta, None],
        *,
        grant: TurnGrant | None = None,
        interaction: Interaction | None = None,
        left_out: Callable[[], int] = lambda: 0,
        retrieved: Callable[[], tuple[int, ...]] = lambda: (),
    ) -> None:
        self._deltas = deltas
        self._left_out = left_out
        self._retrieved = retrieved
        self.grant = grant
        self.interaction = interaction
        self.made_model = False

    @property
    def left_out(self) -> int:
        """How many of the request's messages the model did not read; known from the first delta on."""
        return self._left_out()

    @property
    def retrieved(self) -> tuple[int, ...]:
        """The positions of the logged turns that a peek was told from; known from the first delta on.

        Those of a turn are in its ``interaction``.
        """
        return self._retrieved()

    def __aiter__(self) -> AsyncGenerator[Delta, None]:
        return self._deltas

    async def aclose(self) -> None:
        """Stop generating, free the engine's slot, and abandon an unfinished turn."""
        await self._deltas.aclose()


async def no_deltas() -> AsyncGenerator[Delta, None]:
    """Yield nothing: the reply is in the log already."""
    for nothing in ():
        yield nothing
