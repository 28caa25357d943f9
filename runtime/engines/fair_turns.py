"""One thing at a time, and whose turn is next: the tenant that was served the least."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from populace.policies.fair_shares import FairShares


class FairTurns:
    """A lock for asyncio that is shared fairly among tenants; a tenant's own turns come in their order.

    One event loop only.
    """

    def __init__(self) -> None:
        self._shares: FairShares[str] = FairShares()
        self._waiting: dict[asyncio.Future[None], tuple[str, float]] = {}
        self._taken = False

    @property
    def is_free(self) -> bool:
        """Whether a turn that is asked for now begins at once."""
        return not self._taken

    def waiting(self, tenant: str) -> int:
        """How many turns of the tenant have not begun."""
        return sum(waiting == tenant for waiting, _ in self._waiting.values())

    def waiting_cost(self, tenant: str) -> float:
        """What the tenant's turns that have not begun will be charged with."""
        return sum(cost for waiting, cost in self._waiting.values() if waiting == tenant)

    @asynccontextmanager
    async def turn(self, tenant: str, cost: float) -> AsyncGenerator[None]:
        """Wait for a turn, which is charged with ``cost``, and hold it."""
        self._shares.begin(tenant)
        entry = asyncio.get_running_loop().create_future()
        self._waiting[entry] = tenant, cost
        try:
            self._next()
            await entry
            yield
        finally:
            if self._waiting.pop(entry, None) is None:
                self._taken = False
                self._next()
            self._shares.end(tenant)

    def _next(self) -> None:
        if not self._taken and self._waiting:
            entry = min(self._waiting, key=lambda entry: self._shares.precedence(self._waiting[entry][0]))
            tenant, cost = self._waiting.pop(entry)
            self._taken = True
            self._shares.charge(tenant, cost)
            # It may have been cancelled, and not have run since: then it gives its turn back when it does.
            if not entry.done():
                entry.set_result(None)
