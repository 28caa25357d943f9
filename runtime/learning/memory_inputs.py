# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's split is untyped.
"""Keeps what a memory module reads of the hidden states where the base has it.

A memory's gates, keys and queries are trained on the base's hidden states. An adapter moves these: after
twenty corrections of style no question opened the read gate and half of all small talk was written. Only the
directions that the module reads matter, so training penalises how far an adapter moves along them, and leaves
it all others.

Shape suffixes: L = layers with a memory, T = tokens, H = hidden width, K = directions that a layer reads.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.module import MemoryModule
from populace.learning.curricula import Curriculum
from populace.learning.frozen_base import FrozenBase
from populace.learning.kept_readings import KeptReadings
from populace.learning.methods.objective import Loss, Objective, Scored, TrainSequence
from populace.learning.session import TrainingSession

WEIGHT = 1.0
"""The weight of the penalty, which is 1 if what is read moves as far as it differs between tokens."""


TEXTS_MIN = 2
"""With fewer texts nothing tells how much what is read differs between them."""


class MemoryInputs:
    """The directions that a module reads of each layer's input, each scaled to the variance 1 over texts."""

    def __init__(
        self,
        module: MemoryModule,
        attention: Sequence[AttentionLayer],
        base: FrozenBase,
        texts: Sequence[TrainSequence],
    ) -> None:
        """Make the directions of ``module``; ``attention`` lists all attention layers of the base, in order.

        From now on ``base`` records the inputs of the layers with a memory; ``readings`` keeps them.
        """
        base.record_inputs([layer.name for layer in module.shape.with_memory(attention)])
        self.readings = KeptReadings(base)
        hidden = self.of_base(texts)
        self._layers = [
            _scaled(module.input_directions(number), hidden_TH) for number, hidden_TH in enumerate(hidden)
        ]
        gates_KH = module.gate_directions()
        self._gates_KH = None if gates_KH is None else _scaled(gates_KH, hidden[0][_reply_places(texts)])

    def of_base(self, sequences: Sequence[TrainSequence]) -> list[torch.Tensor]:
        """Return the base's inputs [T, H] of each layer for all tokens of the sequences, in order."""
        return self.readings.hidden(sequences)

    def moved(
        self, hidden: Sequence[torch.Tensor], base: Sequence[torch.Tensor], replies: Sequence[int]
    ) -> torch.Tensor:
        """Return the mean square of the changes: of all layers and tokens, plus that of the gates.

        ``replies`` are the last tokens of prompts, where a gate decides whether the reply reads.
        """
        changes = [(now_TH.float() - base_TH.float()) for now_TH, base_TH in zip(hidden, base, strict=True)]
        moved = [
            (change_TH @ rows_KH.T).square().mean()
            for change_TH, rows_KH in zip(changes, self._layers, strict=True)
        ]
        total = torch.stack(moved).mean()
        if self._gates_KH is not None and replies:
            total = total + (changes[0][replies] @ self._gates_KH.T).square().mean()
        return total


@dataclass(frozen=True, slots=True)
class KeptInputsObjective:
    """L = L_method + ``WEIGHT`` · mean square change of what the memory reads of the batch.

    ``base`` has the base's inputs [T, H] of each layer for all tokens of the batch. The metric
    ``memory_moved`` is the change.
    """

    method: Objective
    inputs: MemoryInputs
    base: Sequence[torch.Tensor]

    @property
    def sequences(self) -> Sequence[TrainSequence]:
        return self.method.sequences

    def loss(self, scored: Scored) -> Loss:
        learned = self.method.loss(scored)
        moved = self.inputs.moved(scored.hidden, self.base, _reply_places(self.sequences))
        return Loss(
            learned.value + WEIGHT * moved, {**learned.metrics, "memory_moved": float(moved.detach())}
        )


@dataclass(frozen=True, slots=True)
class KeptInputsCurriculum:
    """Adds the penalty to each objective that ``learned`` draws."""

    learned: Curriculum
    inputs: MemoryInputs

    @property
    def size(self) -> int:
        return self.learned.size

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        method = self.learned.objective(session, batch)
        return KeptInputsObjective(method, self.inputs, self.inputs.of_base(method.sequences))


def _reply_places(sequences: Sequence[TrainSequence]) -> list[int]:
    """Return the place in the row of all sequences of each token before a scored reply."""
    begins = itertools.accumulate((len(sequence.ids) for sequence in sequences), initial=0)
    return [
        begin + sequence.scored[0] - 1
        for begin, sequence in zip(begins, sequences, strict=False)
        if sequence.scored
    ]


def _scaled(rows_KH: torch.Tensor, hidden_TH: torch.Tensor) -> torch.Tensor:
    """Divide each direction by its standard deviation over the tokens."""
    rows_KH = rows_KH.to(hidden_TH.device, torch.float32)
    deviation_K = (hidden_TH.float() @ rows_KH.T).std(0)
    return rows_KH / deviation_K.clamp(min=1e-6)[:, None]
