"""Lets calls into a host, until it is handed over to another node: then they wait, and come again there.

Before a Populace stops it lets turns begin for those alone who finish what they had begun.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from populace.actors.draining import Draining
from populace.actors.errors import HostUnavailable

POLL_SECONDS = 0.02


class Gate:
    """Open at first. A call that waits goes on if the host stays, and else raises ``HostUnavailable``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inside = 0
        self._decided: asyncio.Event | None = None
        self._is_shut = False
        self._has_moved = False
        self._let_in: frozenset[str] | None = None

    @asynccontextmanager
    async def passed(self, *, begins_turn: bool, caller: str | None = None) -> AsyncGenerator[None]:
        """Be inside during the block, after waiting if the gate is closed for such a call.

        Raises ``Draining`` if turns begin for others than this ``caller`` alone.
        """
        if begins_turn and self._let_in is not None and caller not in self._let_in:
            raise Draining
        while self._decided is not None and (begins_turn or self._is_shut):
            await self._decided.wait()
        if self._has_moved:
            raise HostUnavailable(self._name, "it goes on on another node")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def let_in(self, callers: frozenset[str]) -> None:
        """Let turns begin for these callers alone, until the process ends."""
        self._let_in = callers

    def close_for_turns(self) -> None:
        """Let no call in that would begin a turn."""
        self._decided = self._decided or asyncio.Event()

    async def shut(self, seconds_max: float) -> bool:
        """Let no call in, and wait for those inside; returns whether they have all ended by then."""
        self.close_for_turns()
        self._is_shut = True
        give_up = asyncio.get_running_loop().time() + seconds_max
        while self._inside:
            if asyncio.get_running_loop().time() > give_up:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def open(self, *, has_moved: bool = False) -> None:
        """Let the calls go on that wait, or with ``has_moved`` send them and all later ones away."""
        decided, self._decided = self._decided, None
        self._is_shut, self._has_moved = False, has_moved
        if decided is not None:
            decided.set()
