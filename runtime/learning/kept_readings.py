"""Keeps how a model that does not change reads a sequence, since a training meets the same ones in each step.

Anchors, and what a memory module reads, are compared with the base in each step, and computing that anew took
more than a third of a step's time. Each sequence is read alone, so that what is kept does not depend on the
others of its step.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch

from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase, Read
from populace.learning.methods.objective import TrainSequence

BYTES_MAX = 256 * 1024**2
"""What was not met for the longest goes first. A step's worth is always kept."""


class KeptReadings:
    """The readings of the base, or of a lower ``adapter`` on it, which must not change. Not thread-safe."""

    def __init__(
        self, base: FrozenBase, adapter: TrainableAdapter | None = None, *, bytes_max: int = BYTES_MAX
    ) -> None:
        self._base = base
        self._adapter = adapter
        self._bytes_max = bytes_max
        self._kept: OrderedDict[TrainSequence, Read] = OrderedDict()
        self._bytes = 0

    def log_probs(self, sequences: Sequence[TrainSequence]) -> torch.Tensor:
        """Return the log-probabilities [N, V] at the sequences' N scored tokens, in nats."""
        return self._base.predict(torch.cat([read.last for read in self._readings(sequences)]))

    def hidden(self, sequences: Sequence[TrainSequence]) -> list[torch.Tensor]:
        """Return the inputs [T, H] of each layer that the base records, for all tokens of the sequences."""
        layers = zip(*(read.hidden for read in self._readings(sequences)), strict=True)
        return [torch.cat(layer) for layer in layers]

    def _readings(self, sequences: Sequence[TrainSequence]) -> list[Read]:
        readings: list[Read] = []
        for sequence in sequences:
            read = self._kept.get(sequence)
            if read is None:
                read = self._kept[sequence] = self._base.read(self._adapter, sequence)
                self._bytes += _bytes(read)
            self._kept.move_to_end(sequence)
            readings.append(read)
        while self._bytes > self._bytes_max and len(self._kept) > len(sequences):
            self._bytes -= _bytes(self._kept.popitem(last=False)[1])
        return readings


def _bytes(read: Read) -> int:
    return sum(tensor.nbytes for tensor in (read.last, *read.hidden))
