# pyright: reportUnknownMemberType=false
# Functions of the C library are untyped.
"""Trains the adapters of many personal models on one base, as many in one step as its token budget allows.

The trainer reads neither log nor store. It takes sessions with their curricula, and returns for each model a
candidate with its scores, or an error that does not affect the other models.

The memory that a training frees is kept in the process, for its next operation.
glibc gives what is freed above some size back to the system, and gets it again, zeroed page by page, with the
next operation of the same size: half of the time of a normalisation of 1,000 tokens went into that.
"""

import ctypes
import math
import platform
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, Protocol

from populace.actors.errors import NothingToTrain, TrainingDiverged, TrainingFailed, TrainingStopped
from populace.adapters.lora.trainable import Factors, TrainableAdapter
from populace.learning.corrections import Taught
from populace.learning.curricula import Curriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOut, evaluate
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_replies import GeneralJudge
from populace.learning.lower_part import LowerPart, shared_part
from populace.learning.methods.objective import Objective
from populace.learning.session import StepReport, TrainingSession, is_out_of_memory, take_step
from populace.learning.wanted_work import check_wanted, only_while
from populace.policies.evaluation_gate import Evaluation, GateRule, OnLower, Verdict, verdict

TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
"""The numbers of these parameters of ``mallopt`` in glibc's ``malloc.h``."""

KEPT_BYTES = 2**30
"""Larger blocks are mapped each by itself, also while memory is kept."""

USUAL_BYTES = 32 * 2**20
"""The highest value that glibc's own adjustment reaches; setting a threshold ends the adjustment."""


@contextmanager
def keeping_freed_memory() -> Generator[None]:
    """Keep what this process frees in the block, and give it all back at the end.

    The process is as large as its largest step until then. Nothing changes with another C library than glibc.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(MMAP_THRESHOLD, KEPT_BYTES)
    library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(MMAP_THRESHOLD, USUAL_BYTES)
        library.mallopt(TRIM_THRESHOLD, 2 * USUAL_BYTES)
        library.malloc_trim(0)


@cache
def _glibc() -> Any | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


TOKENS_A_STEP = 2048
"""The batches of all models in a step have at most this many tokens, which bounds stored activations."""

BATCH = 8
"""Number of examples that a step draws for each model, unless its ``Learner`` says otherwise."""


@dataclass(frozen=True, slots=True)
class Learner:
    """The training of one personal model.

    ``parent`` None is the base. The candidate is judged on ``held_out``, and by each of the ``judges`` of its
    replies. ``batch`` is the number of examples in a step; None is the trainer's default. ``taught`` are the
    corrections that the candidate has to say. ``lower`` is the revision on which the session's adapter is
    trained, and that the candidate has to be better than. ``from_base``: the session's adapter began from the
    base, also if there is a parent, which it replaces.
    """

    session: TrainingSession
    curriculum: Curriculum
    parent: TrainableAdapter | None
    held_out: HeldOut
    batch: int | None = None
    taught: Taught | None = None
    judges: Sequence["ReplyJudge"] = ()
    lower: LowerPart | None = None
    from_base: bool = False

    @property
    def name(self) -> str:
        return self.session.name

    @property
    def is_done(self) -> bool:
        return self.session.step >= self.session.options.steps


class ReplyJudge(Protocol):
    """Judges a candidate by its replies, such as those to the person's own suite."""

    def judge(self, evaluation: Evaluation, candidate: TrainableAdapter) -> Evaluation:
        """Add what was measured. May raise ``TrainingFailed``."""
        ...


class Candidate(NamedTuple):
    """The packed adapter of a trained model, its scores, and the verdict on its promotion.

    ``losses`` has one value for each step, ``tokens`` counts those of all its batches, and ``seconds`` is its
    share of the training time in proportion to tokens. ``judged_s`` is when its judgement began and ended, on
    the monotonic clock.
    """

    packed: bytes | bytearray
    evaluation: Evaluation
    verdict: Verdict
    losses: tuple[float, ...]
    tokens: int
    seconds: float
    judged_s: tuple[float, float] = (0.0, 0.0)


class TrainerProgress:
    """Follows the training of each model and may stop it. As it is, it does nothing of that."""

    def stepped(self, name: str, report: StepReport, seconds: float) -> None:
        """Called after each step of a model.

        ``seconds`` is its share of the step's time, by tokens, and the time in which its batch was drawn.
        """

    def goes_on(self, name: str) -> bool:
        """Called before each step of a model, and before its batch is drawn; False stops its training."""
        del name
        return True

    def is_wanted(self, name: str) -> bool:
        """Called often while a batch is drawn, which may sample replies, and while a candidate is judged.

        False ends that at once. It has to stay true where a training only makes room for others: what was
        sampled so far is lost.
        """
        del name
        return True

    def due(self, names: Collection[str]) -> Collection[str]:
        """Called with the models that have more steps to take; those that are returned take the next one.

        The others wait. Some model has to be due.
        """
        return names

    def ended(self, name: str) -> None:
        """Called when a model has taken its last step; it is judged when the others have, or are stopped."""


class Trainer:
    """Takes the steps of many learners on one base and judges their candidates. Not thread-safe.

    ``rank_max`` is the highest rank that the engines serve, ``tokens_a_step`` the token budget of a step.
    """

    def __init__(
        self,
        base: FrozenBase,
        encoder: ExampleEncoder,
        *,
        gate: GateRule,
        rank_max: int,
        tokens_a_step: int = TOKENS_A_STEP,
        batch: int = BATCH,
        general: GeneralJudge | None = None,
    ) -> None:
        """Make a trainer; without ``general`` nothing can reply, and whole replies are not judged."""
        self._base = base
        self._encoder = encoder
        self.gate = gate
        self._rank_max = rank_max
        self._tokens_a_step = tokens_a_step
        self._batch = batch
        self._general = general

    @property
    def general_replies(self) -> int:
        """How many whole replies to general requests judge a candidate."""
        return 0 if self._general is None else self._general.size

    @keeping_freed_memory()
    def train(
        self, learners: Sequence[Learner], progress: TrainerProgress
    ) -> Mapping[str, Candidate | TrainingFailed]:
        """Train all learners to the end of their steps and return a candidate or an error by name.

        Names must be unique. A session that has taken steps continues from there. A learner whose curriculum
        has nothing more to learn ends early and is judged. A learner fails alone if it diverges, does not fit
        into memory by itself, is stopped by ``progress``, or its curriculum fails. One that is stopped
        continues from its session later, also if it was being judged.
        """
        assert len({learner.name for learner in learners}) == len(learners)
        outcomes: dict[str, Candidate | TrainingFailed] = {}
        reports: dict[str, list[StepReport]] = {learner.name: [] for learner in learners}
        seconds: dict[str, float] = dict.fromkeys(reports, 0.0)
        left = list(learners)
        while learning := self._unfinished(left, outcomes, progress):
            due = progress.due([learner.name for learner in learning])
            stepping = [learner for learner in learning if learner.name in due]
            before = dict(seconds)
            batches = self._draw_batches(stepping, outcomes, seconds, progress)
            drawn = {learner.name for learner, _ in batches}
            # A learner without a batch has nothing more to learn: it takes no more steps and is judged below.
            left = [learner for learner in learning if learner.name in drawn or learner.name not in due]
            for group in self._step_groups(batches):
                part = [batch for batch in group if progress.goes_on(batch[0].name)]
                if not part:
                    continue
                began = time.monotonic()
                results = self._step(part)
                took, tokens = time.monotonic() - began, sum(_tokens(objective) for _, objective in part)
                for (learner, objective), outcome in zip(part, results, strict=True):
                    share = took * _tokens(objective) / tokens
                    seconds[learner.name] += share
                    if isinstance(outcome, TrainingFailed):
                        outcomes[learner.name] = outcome
                    else:
                        reports[learner.name].append(outcome)
                        progress.stepped(learner.name, outcome, seconds[learner.name] - before[learner.name])
            for learner in stepping:
                if learner.name not in outcomes and (learner.is_done or learner.name not in drawn):
                    progress.ended(learner.name)
        for learner in learners:
            if learner.name not in outcomes:
                began = time.monotonic()
                with only_while(partial(progress.is_wanted, learner.name), learner.name):
                    outcome = self._judge(learner, reports[learner.name], seconds[learner.name])
                if isinstance(outcome, Candidate):
                    outcome = outcome._replace(judged_s=(began, time.monotonic()))
                outcomes[learner.name] = outcome
        return outcomes

    def _unfinished(
        self,
        learners: Sequence[Learner],
        outcomes: dict[str, Candidate | TrainingFailed],
        progress: TrainerProgress,
    ) -> list[Learner]:
        """Return the learners that take another step; those that ``progress`` stops get their outcome."""
        learning = [learner for learner in learners if not learner.is_done and learner.name not in outcomes]
        stopped = [learner for learner in learning if not progress.goes_on(learner.name)]
        outcomes |= {learner.name: _stopped(learner) for learner in stopped}
        return [learner for learner in learning if learner.name not in outcomes]

    def _draw_batches(
        self,
        learning: Sequence[Learner],
        outcomes: dict[str, Candidate | TrainingFailed],
        seconds: dict[str, float],
        progress: TrainerProgress,
    ) -> list[tuple[Learner, Objective]]:
        """Draw the next batch of each learner that goes on, and record the others and curricula that failed.

        A learner with nothing more to learn is left out; it failed if it has not taken any step.
        """
        batches: list[tuple[Learner, Objective]] = []
        for learner in learning:
            if not progress.goes_on(learner.name):
                outcomes[learner.name] = _stopped(learner)
                continue
            began = time.monotonic()
            try:
                with only_while(partial(progress.is_wanted, learner.name), learner.name):
                    objective = learner.curriculum.objective(learner.session, learner.batch or self._batch)
                batches.append((learner, objective))
            except NothingToTrain as error:
                if not learner.session.step:
                    outcomes[learner.name] = error
            except TrainingFailed as error:
                outcomes[learner.name] = error
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                outcomes[learner.name] = TrainingFailed(
                    learner.name, "a batch of it does not fit into memory"
                )
            # A curriculum may sample replies, which takes longer than the step.
            seconds[learner.name] += time.monotonic() - began
        return batches

    def _step_groups(
        self, batches: Sequence[tuple[Learner, Objective]]
    ) -> Iterator[list[tuple[Learner, Objective]]]:
        """Group the batches into steps within the token budget; a larger batch has a step alone."""
        part: list[tuple[Learner, Objective]] = []
        tokens = 0
        for learner, objective in batches:
            if part and tokens + _tokens(objective) > self._tokens_a_step:
                yield part
                part, tokens = [], 0
            part.append((learner, objective))
            tokens += _tokens(objective)
        if part:
            yield part

    def _step(self, part: Sequence[tuple[Learner, Objective]]) -> list[StepReport | TrainingFailed]:
        """Take a step; if it does not fit into memory, split it into halves down to single learners."""
        try:
            return list(take_step(self._base, [(learner.session, objective) for learner, objective in part]))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # After the handler, whose traceback keeps the tensors of the failed attempt alive.
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
        taught, share = learner.taught, 1.0
        adapter, whole = learner.session.adapter, None
        try:
            check_wanted()
            if taught is not None and taught.alone:
                whole = adapter.factors()
                share = self._take_least(learner, taught, whole)
            chosen = self._chosen(learner)
            evaluation = evaluate(
                self._base,
                self._encoder,
                learner.held_out,
                parent=learner.parent,
                candidate=chosen.served,
            )._replace(on=chosen.on)
            if taught is not None:
                corrections, asked = taught.judged(learner.parent, chosen.served, share)
                evaluation = evaluation._replace(corrections=corrections, asked_again=asked)
            if self._general is not None:
                told = [] if taught is None else [one.wanted for one in taught.corrections]
                general = self._general.compare(learner.name, chosen.packed, told, learner.lower)
                evaluation = evaluation._replace(general=general)
            for judge in learner.judges:
                evaluation = judge.judge(evaluation, chosen.served)
        except TrainingFailed as error:
            if isinstance(error, TrainingStopped) and whole is not None:
                # Who goes on with the session judges all of what was trained.
                adapter.set_between(None, whole, 1.0)
            return error
        if not math.isfinite(evaluation.probe_candidate):
            return TrainingDiverged(
                learner.name, learner.session.step, "its candidate's scores are not finite"
            )
        return Candidate(
            chosen.packed,
            evaluation,
            verdict(evaluation, self.gate),
            tuple(report.loss for report in reports),
            sum(report.tokens for report in reports),
            seconds,
        )

    def _chosen(self, learner: Learner) -> "_Chosen":
        """Choose what is judged: what was trained, or the best share of a personal part.

        Raises what ``shared_part`` raises.
        """
        lower, adapter, taught = learner.lower, learner.session.adapter, learner.taught
        if lower is None:
            packed, served = self._packed(adapter)
            return _Chosen(packed, served)
        whole = len(taught.unsaid(self._packed(adapter)[1])) if taught is not None else 0

        def says(part: TrainableAdapter) -> bool:
            return taught is None or len(taught.unsaid(part)) <= whole

        part = shared_part(
            lower, adapter, learner.held_out, served=lambda one: self._packed(one)[1], says=says
        )
        packed, served = self._packed(part.adapter)
        return _Chosen(packed, served, OnLower(part.share, part.lower))

    def _packed(self, adapter: TrainableAdapter) -> tuple[bytearray, TrainableAdapter]:
        """Pack an adapter, and read it back as it is served: packing rounds it."""
        packed = adapter.pack(self._base.fingerprint, self._base.dtype)
        served = TrainableAdapter.of_packed(packed, self._base.modules, rank_max=self._rank_max)
        return packed, served.to(self._base.device)

    def _take_least(self, learner: Learner, taught: Taught, whole: Factors) -> float:
        """Keep the least share of what was trained, ``whole``, that says all corrections, and return it.

        All other replies change with the square of the share: with 0.8 of it they were 0.01 nats a token from
        the base's where they were 0.21 with all of it.
        """
        adapter = learner.session.adapter
        before = None if learner.parent is None or learner.from_base else learner.parent.factors()
        if learner.lower is not None:
            before = learner.lower.begun

        unread = taught.unread(self._packed(adapter)[1])

        def says(share: float) -> bool:
            adapter.set_between(before, whole, share)
            served = self._packed(adapter)[1]
            return not taught.unsaid(served) and taught.unread(served) <= unread

        share = taught.least_share(says)
        adapter.set_between(before, whole, share)
        return share


class _Chosen(NamedTuple):
    """What is judged, packed and as it is served, and how it compares with a lower revision."""

    packed: bytearray
    served: TrainableAdapter
    on: OnLower | None = None


def _stopped(learner: Learner) -> TrainingStopped:
    return TrainingStopped(learner.name, f"it was stopped after {learner.session.step} steps")


def _tokens(objective: Objective) -> int:
    return sum(len(sequence.ids) for sequence in objective.sequences)
