"""Asks the other hosts of a population, for a host that has to know what they have."""

import asyncio
from collections.abc import Sequence

from populace.actors.errors import HostUnavailable
from populace.actors.hosts import Hosts
from populace.hosting.host_client import RayHostClient, connect_host

ANSWER_SECONDS_MAX = 10.0
"""How long they may take: meanwhile no adapter can be added."""


class OtherHosts:
    """The hosts of these numbers, found when they are first asked."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        self._clients: list[RayHostClient] = []

    async def adapters_in_use(self, digests: frozenset[str]) -> frozenset[str]:
        """Return those of the adapters that their models have.

        Raises ``HostUnavailable`` or ``StorageError`` if one does not know it now, or not in time.
        """
        try:
            if not self._clients:
                self._clients = [connect_host(number) for number in self._numbers]
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                asked = (client.call(Hosts.adapters_in_use, digests) for client in self._clients)
                used = await asyncio.gather(*asked)
        except (ValueError, TimeoutError) as error:
            raise HostUnavailable("another host", str(error) or "it does not answer") from error
        return frozenset[str]().union(*used)
