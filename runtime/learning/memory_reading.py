# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's split is untyped.
"""Scores replies as they are served: while they read their person's memory.

Weights are trained without a memory and served with one. Of seven replies to what was asked again, all of
which the weights said, three were still known with the memory read. A gated module changes nothing but the
last hidden states, and those by what its layers read of their inputs, so the same forward pass of the base
scores a reply both ways.

Shape suffixes: N = scored tokens, S = sequences, L = layers with a memory, H = hidden width, and those of
``adapters/memory``.
"""

import itertools
from typing import Self, cast

import torch

from populace.actors.errors import MemoryStateInvalid, MemoryStateMismatch
from populace.adapters.memory.module import MemoryModule
from populace.adapters.memory.state import StateFormat
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Scored


class MemoryReading:
    """One person's memory, which does not change, as replies read it."""

    def __init__(self, base: FrozenBase, module: MemoryModule, state_LNRR: torch.Tensor) -> None:
        """``module`` is gated, and ``base`` records the inputs of its layers."""
        assert module.gates is not None
        assert module.answer_head is not None
        self._base = base
        self._module = module
        self._gates = module.gates
        self._head = module.answer_head
        self._state_LNRR = state_LNRR

    @classmethod
    def of(cls, base: FrozenBase, module: MemoryModule, digest: str, state: bytes) -> Self | None:
        """Decode a ``state`` of the module with this digest; None if it is of another, or has no gates."""
        if module.gates is None:
            return None
        form: StateFormat = module.state_format(digest)
        try:
            values = form.unpack(state)
        except (MemoryStateInvalid, MemoryStateMismatch):
            return None
        return cls(base, module, torch.from_numpy(values).to(base.device))

    def read(self, scored: Scored) -> Scored:
        """Return the same tokens as they are predicted while each reply reads, if the read gate is open.

        The gate decides at the place from which a reply's first token is predicted, as in serving.
        """
        last_NH, inputs = scored.last, scored.inputs
        assert last_NH is not None
        assert len(inputs) == len(self._module.layers), "the base records the inputs of the layers"
        ends = itertools.accumulate(scored.counts, initial=0)
        replies = [range(begin, end) for begin, end in itertools.pairwise(ends) if end > begin]
        firsts_SH = inputs[0][[reply.start for reply in replies]]
        opens_S = (self._gates.read(firsts_SH) > 0).cpu().tolist()
        places = [place for reply, opens in zip(replies, opens_S, strict=True) if opens for place in reply]
        if not places:
            return scored
        read_NLW = torch.stack(
            [
                self._module.gated_layer(number).answers(hidden_NH[None, places], state_NRR[None])[0]
                for number, (hidden_NH, state_NRR) in enumerate(zip(inputs, self._state_LNRR, strict=True))
            ],
            dim=1,
        )
        told_NH = last_NH[places]
        added_NH = cast("torch.Tensor", self._head(told_NH[None], read_NLW[None]))[0]
        log_probs_NV = self._base.predicted((told_NH.float() + added_NH).to(told_NH.dtype))
        at = torch.tensor(places, device=last_NH.device)
        return scored._replace(log_probs=scored.log_probs.index_copy(0, at, log_probs_NV))
