"""What an engine process must know of an adapter before a request may use it.

An adapter that turns out unreadable inside a step kills the whole vLLM process. So its
directory is checked once per digest, and it is loaded by a call of its own, whose failure is
one request's alone. That costs one step of waiting at most, and only if the adapter is not among
the last ones used: as many as there are slots stay loaded, and vLLM evicts in the same order.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid, EngineUnavailable
from populace.engines.slots import AdmissionGate

KNOWN_ADAPTERS_MAX = 4096
LOAD_SECONDS_MAX = 60.0
"""A load takes milliseconds; one that a dying process left unanswered must not wait for ever."""


class AdapterShelf:
    """One number per digest, given once the adapter is checked, and one load while it stays in use.

    The numbers are how vLLM tells adapters apart; none is ever given to a second digest.
    """

    def __init__(
        self,
        load: Callable[[AdapterRef, int], Awaitable[None]],
        gate: AdmissionGate,
        check_adapter: Callable[[Path], object],
        *,
        first_number: int,
    ) -> None:
        self._load_into_engine = load
        self._gate = gate
        self._check_adapter = check_adapter
        self._numbers = itertools.count(first_number)
        self._known: OrderedDict[str, int] = OrderedDict()
        self._loads: OrderedDict[str, asyncio.Task[int]] = OrderedDict()

    async def ready(self, adapter: AdapterRef) -> int:
        """Load the adapter unless it is loaded already; its requests share the call.

        Raises:
            AdapterInvalid: the directory is not an adapter of this base, or vLLM refused it.
        """
        self._forget_idle(adapter.digest)
        load = self._loads.get(adapter.digest)
        if load is None:
            load = asyncio.create_task(self._load(adapter))
            load.add_done_callback(_retrieve)
            self._loads[adapter.digest] = load
        self.touch(adapter.digest)
        # Not cancelled with its first asker: others may wait for it, and vLLM finishes it anyway.
        await asyncio.wait([load])
        if load.cancelled():
            raise EngineUnavailable("it was closed")
        if load.exception() is not None and self._loads.get(adapter.digest) is load:
            del self._loads[adapter.digest]  # the next request tries again: it may have been the disk
        return load.result()

    def touch(self, digest: str) -> None:
        """Note that the adapter was used just now: vLLM does so in every step of its requests."""
        if digest in self._loads:
            self._loads.move_to_end(digest)

    def close(self) -> None:
        """End the loads under way; who waits for one gets ``EngineUnavailable``."""
        for load in self._loads.values():
            load.cancel()

    async def _load(self, adapter: AdapterRef) -> int:
        number = self._known.get(adapter.digest)
        if number is None:
            path = Path(adapter.path)
            if not path.is_absolute():  # vLLM would take it for a name on the hub
                raise AdapterInvalid(f"its path {adapter.path!r} is not absolute")
            await asyncio.to_thread(self._check_adapter, path)
            number = next(self._numbers)
        try:
            async with asyncio.timeout(LOAD_SECONDS_MAX):
                await self._load_into_engine(adapter, number)
        except TimeoutError as error:
            raise EngineUnavailable(f"an adapter was not loaded in {LOAD_SECONDS_MAX} s") from error
        self._known[adapter.digest] = number
        self._known.move_to_end(adapter.digest)
        return number

    def _forget_idle(self, wanted: str) -> None:
        """Drop the loads that vLLM gives up for the wanted one, and the oldest entries beyond the bound."""
        others = [digest for digest in self._loads if digest != wanted]
        surplus = len(others) + 1 - self._gate.statistics().adapter_slots
        for digest in [digest for digest in others if not self._gate.in_flight(digest)][: max(0, surplus)]:
            del self._loads[digest]
        idle = [digest for digest in self._known if not self._gate.in_flight(digest)]
        for digest in idle[: max(0, len(self._known) - KNOWN_ADAPTERS_MAX)]:
            del self._known[digest]

    def check_integrity(self) -> None:
        slots = self._gate.statistics().adapter_slots
        assert sum(self._gate.in_flight(digest) for digest in self._loads) <= slots
        assert len(set(self._known.values())) == len(self._known)


def _retrieve(load: "asyncio.Task[int]") -> None:
    """Look at the outcome, lest asyncio complains if everyone who waited was cancelled."""
    if not load.cancelled():
        load.exception()
