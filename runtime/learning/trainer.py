"""Trains many people's adapters on one base: a step takes as many as fit, and nobody disturbs another.

It knows neither log nor store: it is given sessions and what they learn, and gives back candidates with their
scores, or what went wrong, one for each person.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from populace.actors.errors import NothingToTrain, TrainingDiverged, TrainingFailed, TrainingStopped
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.curricula import Curriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOut, evaluate
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Objective
from populace.learning.session import StepReport, TrainingSession, is_out_of_memory, take_step
from populace.policies.evaluation_gate import Evaluation, GateRule, Verdict, verdict

TOKENS_A_STEP = 2048
"""Of all people in one step: it bounds what is kept for the backward pass."""

BATCH = 8
"""Examples of one person in a step."""


@dataclass(frozen=True, slots=True)
class Learner:
    """One person's training. ``parent`` None is the base; ``held_out`` is what the candidate is judged by.

    ``batch`` is how many examples a step has, None as many as the trainer gives.
    """

    session: TrainingSession
    curriculum: Curriculum
    parent: TrainableAdapter | None
    held_out: HeldOut
    batch: int | None = None

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def is_done(self) -> bool:
        return self.session.step >= self.session.options.steps


class Candidate(NamedTuple):
    """The packed adapter of a learner as it would be served, its scores, and whether it is promoted.

    ``seconds`` is the learner's share of the time, by tokens; ``losses`` has each step's.
    """

    packed: bytearray
    evaluation: Evaluation
    verdict: Verdict
    losses: tuple[float, ...]
    tokens: int
    seconds: float


class TrainerProgress(Protocol):
    """Who is told how far each person's training is, and says whether it goes on."""

    def stepped(self, name: str, report: StepReport, seconds: float) -> None:
        """A step was taken; ``seconds`` is this person's share of its time, by tokens."""
        ...

    def goes_on(self, name: str) -> bool:
        """Whether the person's next step is taken. Asked before each one."""
        ...


class Trainer:
    """Not thread-safe, as its base. ``rank_max`` is what the engines serve."""

    def __init__(
        self,
        base: FrozenBase,
        encoder: ExampleEncoder,
        *,
        gate: GateRule,
        rank_max: int,
        tokens_a_step: int = TOKENS_A_STEP,
        batch: int = BATCH,
    ) -> None:
        self._base = base
        self._encoder = encoder
        self.gate = gate
        self._rank_max = rank_max
        self._tokens_a_step = tokens_a_step
        self._batch = batch

    def train(
        self, learners: Sequence[Learner], progress: TrainerProgress
    ) -> Mapping[str, Candidate | TrainingFailed]:
        """Train all of them to the end of their steps, and judge what came of them.

        Names are unique. A learner whose session has taken steps goes on from there, and ends before its last
        one if there is nothing more to learn. One that diverges, does not fit into memory by itself, or whose
        curriculum fails, fails alone; so does one that ``progress`` stops.
        """
        assert len({learner.name for learner in learners}) == len(learners)
        outcomes: dict[str, Candidate | TrainingFailed] = {}
        reports: dict[str, list[StepReport]] = {learner.name: [] for learner in learners}
        seconds: dict[str, float] = dict.fromkeys(reports, 0.0)
        left = list(learners)
        while learning := self._learning(left, outcomes, progress):
            drawn = self._drawn(learning, outcomes, seconds)
            # Who has nothing more to learn has ended, and is judged.
            left = [one for one, _ in drawn]
            for whole in self._parts(drawn):
                part = [one for one in whole if progress.goes_on(one[0].name)]
                if not part:
                    continue
                began = time.monotonic()
                stepped = self._step(part)
                took, tokens = time.monotonic() - began, sum(_tokens(objective) for _, objective in part)
                for (learner, objective), outcome in zip(part, stepped, strict=True):
                    share = took * _tokens(objective) / tokens
                    seconds[learner.name] += share
                    if isinstance(outcome, TrainingFailed):
                        outcomes[learner.name] = outcome
                    else:
                        reports[learner.name].append(outcome)
                        progress.stepped(learner.name, outcome, share)
        for learner in learners:
            if learner.name not in outcomes:
                outcomes[learner.name] = self._judge(learner, reports[learner.name], seconds[learner.name])
        return outcomes

    def _learning(
        self,
        learners: Sequence[Learner],
        outcomes: dict[str, Candidate | TrainingFailed],
        progress: TrainerProgress,
    ) -> list[Learner]:
        """Who takes a step next; those who are stopped instead get their outcome."""
        learning = [one for one in learners if not one.is_done and one.name not in outcomes]
        stopped = [one for one in learning if not progress.goes_on(one.name)]
        for one in stopped:
            outcomes[one.name] = TrainingStopped(one.name, f"it was stopped after {one.session.step} steps")
        return [one for one in learning if one.name not in outcomes]

    def _drawn(
        self,
        learning: Sequence[Learner],
        outcomes: dict[str, Candidate | TrainingFailed],
        seconds: dict[str, float],
    ) -> list[tuple[Learner, Objective]]:
        """Draw what each learns next, and note whose curriculum failed.

        Who has nothing more to learn is left out, and has failed as well if that is so from the beginning.
        """
        drawn: list[tuple[Learner, Objective]] = []
        for learner in learning:
            began = time.monotonic()
            try:
                drawn.append(
                    (learner, learner.curriculum.objective(learner.session, learner.batch or self._batch))
                )
            except NothingToTrain as error:
                if not learner.session.step:
                    outcomes[learner.name] = error
            except TrainingFailed as error:
                outcomes[learner.name] = error
            # A curriculum may sample, which takes longer than the step.
            seconds[learner.name] += time.monotonic() - began
        return drawn

    def _parts(self, drawn: Sequence[tuple[Learner, Objective]]) -> Iterator[list[tuple[Learner, Objective]]]:
        """Cut the learners into steps of so many tokens; one with more has a step alone."""
        part: list[tuple[Learner, Objective]] = []
        tokens = 0
        for learner, objective in drawn:
            if part and tokens + _tokens(objective) > self._tokens_a_step:
                yield part
                part, tokens = [], 0
            part.append((learner, objective))
            tokens += _tokens(objective)
        if part:
            yield part

    def _step(self, part: Sequence[tuple[Learner, Objective]]) -> list[StepReport | TrainingFailed]:
        """Take a step; what does not fit into memory together is tried in halves."""
        try:
            return list(take_step(self._base, [(learner.session, objective) for learner, objective in part]))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler: its traceback keeps the tensors of the attempt.
        for learner, _ in part:
            learner.session.optimizer.zero_grad(set_to_none=True)
        if len(part) > 1:
            half = len(part) // 2
            return self._step(part[:half]) + self._step(part[half:])
        [(learner, objective)] = part
        reason = f"a step of {_tokens(objective)} tokens does not fit into memory"
        return [TrainingFailed(learner.name, reason)]

    def _judge(
        self, learner: Learner, reports: Sequence[StepReport], seconds: float
    ) -> Candidate | TrainingFailed:
        packed = learner.session.adapter.pack(self._base.fingerprint, self._base.dtype)
        served = TrainableAdapter.of_packed(packed, self._base.modules, rank_max=self._rank_max)
        try:
            evaluation = evaluate(
                self._base, self._encoder, learner.held_out, parent=learner.parent, candidate=served
            )
        except TrainingFailed as error:
            return error
        if not math.isfinite(evaluation.probe_candidate):
            return TrainingDiverged(
                learner.name, learner.session.step, "its candidate's scores are not finite"
            )
        return Candidate(
            packed,
            evaluation,
            verdict(evaluation, self.gate),
            tuple(report.loss for report in reports),
            sum(report.tokens for report in reports),
            seconds,
        )


def _tokens(objective: Objective) -> int:
    return sum(len(one.ids) for one in objective.sequences)
