# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's split is untyped.
"""What a candidate scores: on what its person said and it never learned from, and on general text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from populace.actors.engine import Message
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase, Reading
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.probes import PROBES
from populace.policies.evaluation_gate import Evaluation, Measure

TOKENS_A_PASS = 1024
"""Of a pass that is not differentiated: its logarithms are 200 MB with a vocabulary of 50,000."""


class Compared(NamedTuple):
    """A number of the parent and of the candidate for each thing that is held out."""

    parent: Sequence[float]
    candidate: Sequence[float]
    measure: Measure = "loss"


class HeldOut(Protocol):
    """What a person's candidates are judged by."""

    @property
    def size(self) -> int:
        """The number of replies or tasks that are held out."""
        ...

    def compare(self, parent: TrainableAdapter | None, candidate: TrainableAdapter) -> Compared:
        """Measure both; ``parent`` None is the base. Raises ``TrainingFailed``."""
        ...


@dataclass(frozen=True, slots=True)
class HeldOutReplies:
    """Replies that somebody wanted: how likely are they?"""

    base: FrozenBase
    sequences: Sequence[TrainSequence]

    @property
    def size(self) -> int:
        return len(self.sequences)

    def compare(self, parent: TrainableAdapter | None, candidate: TrainableAdapter) -> Compared:
        return Compared(
            reply_losses(self.base, parent, self.sequences),
            reply_losses(self.base, candidate, self.sequences),
        )


def evaluate(
    base: FrozenBase,
    encoder: ExampleEncoder,
    held_out: HeldOut,
    *,
    parent: TrainableAdapter | None,
    candidate: TrainableAdapter,
) -> Evaluation:
    """Measure both on what is held out, and the candidate and the base on the probes.

    ``parent`` None is the base itself. ``candidate`` should be what will be served, read back from its
    packed file: training has more digits. Takes memory for ``TOKENS_A_PASS`` or the longest sequence.
    Raises what ``held_out`` raises.
    """
    compared = held_out.compare(parent, candidate)
    probes = [encoder.sequence([Message("user", probe.ask)], probe.answer) for probe in PROBES]
    general = [probe for probe in probes if probe is not None]
    distances: list[torch.Tensor] = []
    losses: list[list[torch.Tensor]] = [[], []]
    for part in _passes(general):
        of_base, of_candidate = score_alone(base, None, part), score_alone(base, candidate, part)
        distance_N = (of_base.log_probs.exp() * (of_base.log_probs - of_candidate.log_probs)).sum(1)
        distances.append(distance_N)
        losses[0].append(-of_base.target_log_probs)
        losses[1].append(-of_candidate.target_log_probs)
    return Evaluation(
        parent=compared.parent,
        candidate=compared.candidate,
        probe_kl=float(torch.cat(distances).mean()),
        probe_base=float(torch.cat(losses[0]).mean()),
        probe_candidate=float(torch.cat(losses[1]).mean()),
        measure=compared.measure,
    )


def reply_losses(
    base: FrozenBase, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]
) -> list[float]:
    """The mean negative log-likelihood of each sequence's scored tokens, in nats a token."""
    sums = reply_log_probs(base, adapter, sequences)
    return [-one / len(sequence.scored) for one, sequence in zip(sums, sequences, strict=True)]


def reply_log_probs(
    base: FrozenBase, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]
) -> list[float]:
    """The log-likelihood of each sequence's scored tokens together, in nats."""
    sums: list[float] = []
    for part in _passes(sequences):
        scored = score_alone(base, adapter, part)
        sums += map(float, scored.sums(scored.target_log_probs))
    return sums


def token_log_probs(
    base: FrozenBase, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]
) -> list[list[float]]:
    """The log-likelihood of each scored token of each sequence, in nats."""
    found: list[list[float]] = []
    for part in _passes(sequences):
        scored = score_alone(base, adapter, part)
        found += [list(map(float, one)) for one in scored.target_log_probs.split(scored.counts)]
    return found


@torch.no_grad()
def score_alone(
    base: FrozenBase, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]
) -> Scored:
    """Read the sequences in one pass that is not differentiated."""
    return base.score([Reading(adapter, sequences)])[0]


def _passes(sequences: Sequence[TrainSequence]) -> list[list[TrainSequence]]:
    """Cut the sequences, in their order, into passes of so many tokens; a longer one has its own."""
    passes: list[list[TrainSequence]] = []
    tokens = 0
    for one in sequences:
        if not passes or tokens + len(one.ids) > TOKENS_A_PASS:
            passes.append([])
            tokens = 0
        passes[-1].append(one)
        tokens += len(one.ids)
    return passes
