"""The work of ``populace bench training``: what each person learns, what judges it, and peak memory."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from populace.learning.methods.objective import TrainSequence
from populace.learning.session import StepOptions

IDS = (100, 20_000)
"""A half-open range of token ids that are in the vocabulary of every base."""

OWN_IDS = 64
"""A person uses this many of them. That can be learned, and lowers the loss of text that was held out."""

HELD_OUT = 8
"""The number of sequences of each person that are not learned."""


class Work(NamedTuple):
    """The training of each person: ``steps`` of all ``sequences``, the second half of each in the loss."""

    rank: int
    steps: int
    sequences: int
    tokens: tuple[int, int]

    def of(self, person: int) -> list[TrainSequence]:
        """Draw the person's sequences, with lengths from ``tokens[0]`` to ``tokens[1]``."""
        return self._drawn(person, "learned", self.sequences)

    def held_out(self, person: int) -> list[TrainSequence]:
        """Draw sequences of the same tokens that are not learned."""
        return self._drawn(person, "held out", HELD_OUT)

    def options(self) -> StepOptions:
        """Return the options of each person's session."""
        return StepOptions(steps=self.steps, learning_rate=1e-3, warm_up=1)

    def tokens_of(self, people: Sequence[int]) -> int:
        """Return the number of tokens in all steps of these people."""
        return self.steps * sum(len(sequence.ids) for person in people for sequence in self.of(person))

    def _drawn(self, person: int, purpose: str, count: int) -> list[TrainSequence]:
        own = random.Random(f"person {person}").sample(range(*IDS), OWN_IDS)  # noqa: S311 - not a secret
        source = random.Random(f"{purpose} {person}")  # noqa: S311 - not a secret
        lengths = [source.randint(*self.tokens) for _ in range(count)]
        return [
            TrainSequence(
                tuple(source.choices(own, k=length)),
                (0.0,) * (length // 2) + (1.0,) * (length - length // 2),
            )
            for length in lengths
        ]


class Trained(NamedTuple):
    """The times of a training, its peak memory beyond that before it, ``losses[person][step]``, and
    ``held_out[person]`` in nats per token.

    ``processor_seconds`` are those of all threads. With one thread they hardly depend on what else runs.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int
    losses: list[list[float]]
    held_out: list[float]


def reset_peak() -> int:
    """Reset this process's peak memory to its current memory, and return that in bytes. Only on Linux."""
    Path("/proc/self/clear_refs").write_text("5")
    return _of_status("VmRSS")


def peak() -> int:
    """Return this process's peak memory since it was reset, in bytes. Only on Linux."""
    return _of_status("VmHWM")


def _of_status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/self/status has no {field}, which Linux always writes")
