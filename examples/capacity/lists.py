"""Teaches lists to adapters, several in each step, until all is said or a budget of passes is spent."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from capacity.findings import Measured
from capacity.items import Question, questions_of

from populace.actors.engine import Message
from populace.actors.errors import NothingToTrain, TrainingFailed
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.corrections import CHOSEN_OF, CorrectionsCurriculum, margins
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Objective, TrainSequence
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from populace.learning.trainer import TOKENS_A_STEP, keeping_freed_memory
from populace.policies.capacity import ATTENTION, MLP

KINDS: Mapping[str, frozenset[str]] = {"attention": ATTENTION, "mlp": MLP, "all": ATTENTION | MLP}
"""The layers that an adapter of each kind changes, of those that the base has."""

LEARNERS_MAX = 8
"""Lists that are learned at once."""

ITEMS_MIN = 4
TRAINED_COST = 3
"""Training on a token takes this many times as long as reading it."""

GIVEN_UP = 0.5
"""Longer lists are not tried once less than this share of one is recalled."""

BRIEFLY = Message("system", "Be brief.")
"""Shorter than the default base's own system message."""


class Recipe(NamedTuple):
    """How a list is learned: as the trainer learns corrections, without anchors."""

    batch: int
    learning_rate: float
    passes: int


class Cell(NamedTuple):
    """One adapter to train: its targets and rank, the seed, and the tokens a parameter of its list."""

    kind: str
    rank: int
    seed: int
    load: float


class ListPlan:
    """A list that is to be learned. Its ``work`` is what that takes at most, in tokens that are read."""

    def __init__(self, base: FrozenBase, encoder: ExampleEncoder, cell: Cell, recipe: Recipe) -> None:
        self.cell = cell
        self.recipe = recipe
        targets = tuple(sorted(KINDS[cell.kind].intersection(base.modules.targets)))
        self.shape = LoraShape(cell.rank, targets=targets)
        sides = [base.modules.linears[name] for name in self.shape.modules_of(base.modules)]
        self.parameters = cell.rank * sum(sum(of_layer) for of_layer in sides)
        self.questions, self.sequences = _list_of(encoder, cell.seed, cell.load * self.parameters)
        size = len(self.questions)
        self.batch = min(recipe.batch, size)
        self.steps = recipe.passes * math.ceil(size / self.batch)
        self.work = self.steps * self.work_of(self.batch / size * _size(self.sequences))

    def work_of(self, tokens: float) -> float:
        """Return the work of a step that learns this many tokens: all that it chooses from are read."""
        chosen_of = min(CHOSEN_OF * self.recipe.batch, len(self.questions)) / self.batch
        return tokens * (TRAINED_COST + chosen_of)


class TaughtList:
    """An adapter that learns a list."""

    def __init__(self, base: FrozenBase, plan: ListPlan) -> None:
        self.plan = plan
        self.worked = 0.0
        self._base = base
        cell = plan.cell
        adapter = TrainableAdapter.begin(base.model, base.modules, plan.shape, "uniform", seed=cell.seed)
        stepping = StepOptions(steps=plan.steps, learning_rate=plan.recipe.learning_rate, seed=cell.seed)
        self.session = TrainingSession(str(cell), adapter.to(base.model.device), stepping)
        self._curriculum = CorrectionsCurriculum(base, plan.sequences)
        self._seconds = 0.0
        self._read = 0

    def objective(self) -> Objective | None:
        """Draw the next step; None once all is said, or the budget is spent."""
        if self.session.step >= self.plan.steps:
            return None
        began = time.monotonic()
        try:
            return self._curriculum.objective(self.session, self.plan.batch)
        except NothingToTrain:
            return None
        finally:
            self._seconds += time.monotonic() - began

    def note(self, report: StepReport, seconds: float) -> float:
        """Count a step and its share of the time; return the work that it was."""
        self._seconds += seconds
        self._read += report.tokens
        work = self.plan.work_of(report.tokens)
        self.worked += work
        return work

    def measured(self) -> Measured:
        """Ask for every item as it would be served: with the adapter rounded to the base's type."""
        plan, cell, base = self.plan, self.plan.cell, self._base
        packed = self.session.adapter.to("cpu").pack(base.fingerprint, base.dtype)
        served = TrainableAdapter.of_packed(packed, base.modules, rank_max=cell.rank).to(base.model.device)
        said = [margin > 0 for margin in margins(base, served, plan.sequences)]
        tokens = [_tokens_of(sequence) for sequence in plan.sequences]
        by_way = {"position": 0, "neighbour": 0}
        for question, is_said in zip(plan.questions, said, strict=True):
            by_way[question.way] += is_said
        return Measured(
            *cell,
            plan.parameters,
            len(said),
            sum(tokens),
            sum(count for count, is_said in zip(tokens, said, strict=True) if is_said),
            by_way,
            self.session.step,
            self.session.step * plan.batch / len(said),
            self._read,
            self._seconds,
        )


class Chain:
    """The lists of one shape and seed, the shortest first; what is ``kept`` already is not learned again."""

    def __init__(self, plans: Sequence[ListPlan], kept: Mapping[Cell, Measured]) -> None:
        self._left = deque(sorted(plans, key=lambda plan: plan.cell.load))
        self._kept = kept
        self._skip()

    @property
    def work(self) -> float:
        """What the lists that are left take at most; less than before once longer ones are given up."""
        return sum(plan.work for plan in self._left if plan.cell not in self._kept)

    def next(self) -> ListPlan | None:
        """Take the next list to learn, None if none is left."""
        return self._left.popleft() if self._left else None

    def note(self, measured: Measured) -> None:
        """Give longer lists up if too little was recalled of this one."""
        if measured.share < GIVEN_UP:
            self._left.clear()
        self._skip()

    def _skip(self) -> None:
        if self._left and (kept := self._kept.get(self._left[0].cell)) is not None:
            self._left.popleft()
            self.note(kept)


@keeping_freed_memory()
def learn(
    base: FrozenBase,
    chains: Sequence[Chain],
    *,
    worked: Callable[[float], None],
    done: Callable[[Measured], None],
) -> None:
    """Learn the lists of all chains; a chain's next list begins when the one before has ended.

    ``worked`` is called with the work of each step, and with what need not be done any more; ``done`` with
    each result. Raises ``TrainingFailed`` if a training diverges.
    """
    waiting = deque(chains)
    learning: list[tuple[Chain, TaughtList]] = []
    while waiting or learning:
        while waiting and len(learning) < LEARNERS_MAX:
            chain = waiting.popleft()
            plan = chain.next()
            if plan is not None:
                learning.append((chain, TaughtList(base, plan)))
        drawn: list[tuple[TaughtList, Objective]] = []
        for chain, taught in list(learning):
            objective = taught.objective()
            if objective is not None:
                drawn.append((taught, objective))
                continue
            learning.remove((chain, taught))
            measured, before = taught.measured(), chain.work
            chain.note(measured)
            worked(taught.plan.work - taught.worked + before - chain.work)
            done(measured)
            # Before the chains that have not begun: lists of about one length share steps best.
            waiting.appendleft(chain)
        for group in _groups(drawn):
            worked(_step(base, group))


def _step(base: FrozenBase, group: Sequence[tuple[TaughtList, Objective]]) -> float:
    """Take one step of each and return the work that it was."""
    began = time.monotonic()
    reports = take_step(base, [(taught.session, objective) for taught, objective in group])
    took = time.monotonic() - began
    tokens = sum(_size(objective.sequences) for _, objective in group)
    work = 0.0
    for (taught, objective), report in zip(group, reports, strict=True):
        if isinstance(report, TrainingFailed):
            raise report
        work += taught.note(report, took * _size(objective.sequences) / tokens)
    return work


def _groups(
    drawn: Sequence[tuple[TaughtList, Objective]],
) -> Iterator[list[tuple[TaughtList, Objective]]]:
    """Group what was drawn into steps of at most ``TOKENS_A_STEP``; a larger one has a step alone."""
    group: list[tuple[TaughtList, Objective]] = []
    tokens = 0
    for taught, objective in drawn:
        size = _size(objective.sequences)
        if group and tokens + size > TOKENS_A_STEP:
            yield group
            group, tokens = [], 0
        group.append((taught, objective))
        tokens += size
    if group:
        yield group


def _list_of(encoder: ExampleEncoder, seed: int, tokens: float) -> tuple[list[Question], list[TrainSequence]]:
    """Take as many items as have about this many tokens."""
    questions: list[Question] = []
    sequences: list[TrainSequence] = []
    total = 0
    for question in questions_of(seed):
        sequence = encoder.sequence((BRIEFLY, Message("user", question.ask)), question.item)
        assert sequence is not None, "an item has room in any context"
        if len(questions) >= ITEMS_MIN and total + _tokens_of(sequence) / 2 > tokens:
            break
        questions.append(question)
        sequences.append(sequence)
        total += _tokens_of(sequence)
    return questions, sequences


def _size(sequences: Sequence[TrainSequence]) -> int:
    return sum(len(sequence.ids) for sequence in sequences)


def _tokens_of(sequence: TrainSequence) -> int:
    """Return the number of tokens of the item, without the one that ends the reply."""
    return len(sequence.scored) - 1
