"""A gated memory's records of each running request inside vLLM: pure but for their tensors.

Only the person's messages in a prompt are written, so a request's state does not change any more once its
prompt is read: there is one state for each, and what a message has brought so far while it is read in pieces.

Shape suffixes: L = layers with a memory, N = states, R = rank.
"""

from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import NamedTuple

import torch

from populace.adapters.memory.gated_layer import Projected
from populace.engines.vllm_memory.request import MemoryRequest

ENDED_MAX = 4096
"""Ended requests whose states are kept until they are taken."""


class WrittenPart(NamedTuple):
    """The tokens [first, last) of a step that are of one message, and whether it begins and ends in it."""

    first: int
    last: int
    begins: bool
    ends: bool


class Pending(NamedTuple):
    """A message that goes on in the next step: the values of its tokens so far, for each layer.

    It is written when it is complete, because later tokens of a message are part of the keys of earlier ones.
    """

    layers: list[list[Projected]]

    def whole(self, number: int, last: Projected) -> Projected:
        """Return all of the message's tokens of a layer; ``last`` are those of the step in which it ends."""
        parts = zip(*self.layers[number], last, strict=True)
        return Projected(*(torch.cat(part, dim=1) for part in parts))


@dataclass
class GatedRequest:
    """A running request: ``state`` is what complete messages left, ``pending`` a message that goes on.

    ``seen`` counts tokens, ``opened`` says whether the reply reads, ``holds`` whether there is anything to
    be read. ``lost``: tokens that should have been written were not computed.
    """

    request: MemoryRequest
    start: torch.Tensor
    state: torch.Tensor
    holds: bool
    pending: Pending | None = None
    seen: int = 0
    opened: bool = False
    lost: bool = False

    def begin(self, position: int) -> None:
        """Prepare for a step whose first token is at ``position``: 0 again after a preemption."""
        if position == 0:
            self.state, self.pending, self.opened, self.lost = self.start, None, False, False
            self.holds = bool(self.start.any())
        elif any(start < position and self.seen < stop for start, stop in self.request.spans):
            self.lost |= position != self.seen
        self.seen = position

    def parts(self, first: int, tokens: int) -> list[WrittenPart]:
        """Return the parts of messages in the next ``tokens``, which are the step's from ``first`` on."""
        shift, stop = first - self.seen, self.seen + tokens
        return [
            WrittenPart(
                max(begin, self.seen) + shift, min(end, stop) + shift, begin >= self.seen, end <= stop
            )
            for begin, end in self.request.spans
            if begin < stop and end > self.seen
        ]


class GatedRequests:
    """The requests that run, and those that ended until their states are taken."""

    def __init__(self, fresh: Callable[[], torch.Tensor]) -> None:
        """``fresh`` makes an empty state [L, N, R, R]."""
        self._fresh = fresh
        self._running: dict[str, GatedRequest] = {}
        self._ended: OrderedDict[str, GatedRequest] = OrderedDict()

    def of(self, request: MemoryRequest) -> GatedRequest:
        known = self._running.get(request.key)
        if known is None:
            state = self._fresh()
            if request.state is not None:
                values = torch.frombuffer(bytearray(request.state), dtype=torch.float32)
                state.copy_(values.view(state.shape))
            known = GatedRequest(request, state, state, bool(state.any()))
            self._running[request.key] = known
        return known

    def end_others(self, running: Container[str]) -> None:
        """Note that all but the ``running`` requests have ended."""
        for key in [key for key in self._running if key not in running]:
            known = self._ended[key] = self._running.pop(key)
            known.pending = None  # grows with its message, and is not read any more
        while len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)

    def take(self, key: str) -> torch.Tensor | None:
        """Return a request's state and forget it; None: it is not known, or not what it should be."""
        known = self._ended.pop(key, None) or self._running.pop(key, None)
        return None if known is None or known.lost else known.state
