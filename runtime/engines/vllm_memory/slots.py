"""The cells of the state buffers of the memory inside vLLM, and what each of them holds. Pure.

Each request has a slot: a cell with its starting state and a ring of the states after its last few
steps. The ring is there because the end of a reply is not always decided where it is computed: a stop
string is found outside, and a scheduler that runs ahead computes a step too many.
"""

from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass, field

from populace.engines.vllm_memory.request import MemoryRequest

RING = 8
"""States kept of each request. If a stop string is found later, the state is computed again."""


@dataclass
class Slot:
    """One request's cells. ``seen`` is how many tokens went into the newest state, ``ring`` where it is.

    ``kept`` maps a number of tokens to the cell with the state after them. ``open_tokens`` counts, for
    each of those, the tokens of the message that is not complete yet; only message means need it.
    """

    number: int
    request: MemoryRequest
    seen: int = 0
    ring: int = 0
    kept: OrderedDict[int, int] = field(default_factory=OrderedDict[int, int])
    open_tokens: dict[int, int] = field(default_factory=dict[int, int])
    lost: bool = False

    @property
    def start_cell(self) -> int:
        return self.number * (RING + 1) + RING

    @property
    def cell(self) -> int:
        """The cell with the newest state."""
        return self.kept.get(self.seen, self.start_cell)

    def begin(self, position: int) -> None:
        """Prepare for a step whose first token is at ``position``.

        At 0 everything is computed anew, as after a preemption. Any other position must follow what
        was seen, or tokens were skipped that should have been written.
        """
        if position == 0:
            self.seen, self.lost = 0, False
            self.kept.clear()
            self.open_tokens.clear()
        elif position != self.seen and self.request.writes:
            self.lost = True

    def advance(self, tokens: int, open_tokens: int = 0) -> int:
        """Count a step of ``tokens``; return the cell for the state after them."""
        self.ring = (self.ring + 1) % RING
        cell = self.number * (RING + 1) + self.ring
        for seen in [seen for seen, kept in self.kept.items() if kept == cell]:
            del self.kept[seen]
            self.open_tokens.pop(seen, None)
        self.seen += tokens
        self.kept[self.seen] = cell
        self.open_tokens[self.seen] = open_tokens
        return cell


class SlotTable:
    """A slot for each request in flight, and for those that ended until their state is taken.

    Slot 0 is for requests without a memory: its states are empty and stay so.
    """

    def __init__(self, requests_max: int) -> None:
        """``requests_max``: how many run at once. Three times as many that ended are kept besides."""
        self.count = 1 + 4 * requests_max
        self._free = list(range(self.count - 1, 0, -1))
        self._running: dict[str, Slot] = {}
        self._ended: OrderedDict[str, Slot] = OrderedDict()

    @property
    def cells(self) -> int:
        return self.count * (RING + 1)

    def get(self, key: str) -> Slot | None:
        return self._running.get(key) or self._ended.get(key)

    def open(self, request: MemoryRequest) -> Slot:
        """Give the request a slot; the one that ended longest ago and was never taken makes room."""
        if not self._free:
            self._free.append(self._ended.popitem(last=False)[1].number)
        slot = self._running[request.key] = Slot(self._free.pop(), request)
        return slot

    def end_others(self, running: Container[str]) -> None:
        """Note that all but the ``running`` requests have ended."""
        for key in [key for key in self._running if key not in running]:
            self._ended[key] = self._running.pop(key)

    def close(self, key: str) -> None:
        """Free the slot of a request that has ended or is about to."""
        slot = self._ended.pop(key, None) or self._running.pop(key, None)
        if slot is not None:
            self._free.append(slot.number)

    def check_integrity(self) -> None:
        numbers = [*self._free, *(slot.number for slot in (*self._running.values(), *self._ended.values()))]
        assert sorted(numbers) == list(range(1, self.count)), (
            "each slot but the first is one request's or free"
        )
