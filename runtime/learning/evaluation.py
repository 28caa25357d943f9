# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's split is untyped.
"""Scores a candidate adapter against its parent on held-out interactions, and against the base on probes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple, Protocol

import torch

from populace.actors.engine import Message
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.packed_row import Reading
from populace.learning.probes import PROBES
from populace.policies.evaluation_gate import Evaluation, Measure

TOKENS_A_PASS = 1024
"""A forward pass without gradient has at most this many tokens, unless one sequence is longer.

With a vocabulary of 50,000 its log-probabilities take 200 MB.
"""


class Compared(NamedTuple):
    """The scores of the parent and of the candidate, one for each held-out reply or task.

    ``measure`` says what they are: losses in nats a token, or rewards.
    """

    parent: Sequence[float]
    candidate: Sequence[float]
    measure: Measure = "loss"


class HeldOut(Protocol):
    """The held-out data by which the candidates of one personal model are judged."""

    @property
    def size(self) -> int:
        """The number of replies or tasks that are held out."""
        ...

    def compare(self, parent: TrainableAdapter | None, candidate: TrainableAdapter) -> Compared:
        """Score both on all held-out data. ``parent`` None is the base. May raise ``TrainingFailed``."""
        ...


@dataclass(frozen=True, slots=True)
class HeldOutReplies:
    """Held-out replies that were liked, corrected or taken as wanted, scored by loss in nats a token."""

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


@dataclass(frozen=True, slots=True)
class HeldOutPeople:
    """Held-out replies of several people: each person counts once, whatever the number of their replies."""

    base: FrozenBase
    people: Sequence[Sequence[TrainSequence]]

    @property
    def size(self) -> int:
        return len(self.people)

    def compare(self, parent: TrainableAdapter | None, candidate: TrainableAdapter) -> Compared:
        return Compared(self._losses(parent), self._losses(candidate))

    def _losses(self, adapter: TrainableAdapter | None) -> list[float]:
        losses = iter(reply_losses(self.base, adapter, [one for person in self.people for one in person]))
        return [fmean([next(losses) for _ in person]) for person in self.people]


def evaluate(
    base: FrozenBase,
    encoder: ExampleEncoder,
    held_out: HeldOut,
    *,
    parent: TrainableAdapter | None,
    candidate: TrainableAdapter,
) -> Evaluation:
    """Score parent and candidate on ``held_out``, and base and candidate on the probes.

    ``parent`` None is the base. ``candidate`` should be read back from its packed form, since packing rounds
    it to the served type. Memory is taken for ``TOKENS_A_PASS`` tokens or the longest sequence. The probes
    give mean losses and the mean divergence KL(base ‖ candidate), in nats a token. Raises what
    ``held_out.compare`` raises.
    """
    compared = held_out.compare(parent, candidate)
    probes = [encoder.sequence([Message("user", probe.ask)], probe.answer) for probe in PROBES]
    general = [probe for probe in probes if probe is not None]
    distances: list[torch.Tensor] = []
    losses: list[list[torch.Tensor]] = [[], []]
    for part in passes_of(general):
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
    """Return the mean negative log-likelihood of each sequence's scored tokens, in nats a token."""
    sums = reply_log_probs(base, adapter, sequences)
    return [-total / len(sequence.scored) for total, sequence in zip(sums, sequences, strict=True)]


def reply_log_probs(
    base: FrozenBase, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]
) -> list[float]:
    """Return the log-likelihood of each sequence's scored tokens together, in nats."""
    sums: list[float] = []
    for part in passes_of(sequences):
        scored = score_alone(base, adapter, part)
        sums += map(float, scored.sums(scored.target_log_probs))
    return sums


def token_log_probs(
    base: FrozenBase, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]
) -> list[list[float]]:
    """Return the log-likelihood of each scored token of each sequence, in nats."""
    log_probs: list[list[float]] = []
    for part in passes_of(sequences):
        scored = score_alone(base, adapter, part)
        log_probs += [list(map(float, row)) for row in scored.target_log_probs.split(scored.counts)]
    return log_probs


@torch.no_grad()
def score_alone(
    base: FrozenBase, adapter: TrainableAdapter | None, sequences: Sequence[TrainSequence]
) -> Scored:
    """Score the sequences with one adapter, None for the base, in one forward pass without gradient."""
    return base.score([Reading(adapter, sequences)])[0]


def passes_of(sequences: Sequence[TrainSequence]) -> list[list[TrainSequence]]:
    """Split the sequences, in order, into passes of up to ``TOKENS_A_PASS``; a longer one is a pass alone."""
    passes: list[list[TrainSequence]] = []
    tokens = 0
    for sequence in sequences:
        if not passes or tokens + len(sequence.ids) > TOKENS_A_PASS:
            passes.append([])
            tokens = 0
        passes[-1].append(sequence)
        tokens += len(sequence.ids)
    return passes
