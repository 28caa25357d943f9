"""Trains the cells of ``rank_start_alpha.py``; those of one shape and start share steps."""

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from defaults.cells import Cell
from defaults.kept import Row
from defaults.reading import Reader, encoded
from defaults.tasks import Amounts, Item, split

from populace.actors.errors import NothingToTrain
from populace.actors.training_options import Start
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.curricula import Curriculum, SupervisedCurriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.lower_part import LowerPart
from populace.learning.methods.objective import Objective, TrainSequence
from populace.learning.on_policy.reward import RewardMethod, RewardOptions
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import Sampler
from populace.learning.session import StepOptions, TrainingSession, take_step
from populace.learning.trainer import keeping_freed_memory
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.records.files import write_durably

REWARD = "exact"
WARM_UP = 2
ROUND = RoundOptions(replies=8, tokens_max=6, steps=2)
PROMPTS = 8
"""Prompts in a round."""

TAUGHT = LoraShape(rank=8)
TAUGHT_RATE = 1e-3
TAUGHT_BATCH = 16
TAUGHT_RIGHT = 0.25
"""What cells with rewards begin on is taught until this share of other questions is right."""

RANK_MAX = 512
TOGETHER = {"sft": 8, "rl": 2}
"""Cells that share a step: more would need more memory and save no more time."""

TRAINED_COST, SAMPLED_COST = 3, 6
"""Training on a token and sampling it take so many times as long as reading it; roughly."""


class Recipe(NamedTuple):
    """What each cell is taught: ``steps`` of ``batch`` examples, or ``rounds`` with rewards.

    At most ``taught_steps`` teach what cells with rewards begin on; after each ``taught_part`` it is judged.
    """

    amounts: Amounts
    steps: int
    batch: int
    rounds: int
    taught_steps: int
    taught_part: int


FULL = Recipe(Amounts(64, 256, 32, 1200), steps=50, batch=8, rounds=10, taught_steps=400, taught_part=20)
FEW = Recipe(Amounts(16, 64, 16, 200), steps=8, batch=8, rounds=1, taught_steps=24, taught_part=12)


class Learner(NamedTuple):
    """A cell in training."""

    cell: Cell
    session: TrainingSession
    curriculum: Curriculum


class Trainings:
    """Trains groups of cells. ``read`` is called with what was read, in tokens, to show the progress."""

    def __init__(
        self, base: FrozenBase, tokenizer: BaseTokenizer, recipe: Recipe, read: Callable[[float], None]
    ) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._encoder = ExampleEncoder(tokenizer, base.context_tokens)
        self._recipe = recipe
        self._read = read
        self._split = split(recipe.amounts)
        self._learned = encoded(self._encoder, self._split.learned)
        self._held_out_tokens = _tokens(encoded(self._encoder, self._split.held_out))
        self._begun: dict[tuple[Start, LoraShape], TrainableAdapter] = {}

    def cost(self, cells: Sequence[Cell]) -> float:
        """Return how long the cells take, in the time that reading a token takes; roughly."""
        steps = sum(self._step_cost(cell) * self._steps(cell) for cell in cells)
        return steps + len(cells) * self._held_out_tokens

    @property
    def teaching_cost(self) -> float:
        """How long ``taught`` takes at most, in the time that reading a token takes."""
        return self._recipe.taught_steps * TRAINED_COST * TAUGHT_BATCH * self._tokens_each

    def reader(self, began: TrainableAdapter | None) -> Reader:
        """Make the reader of cells that began on this adapter, None for the base; it reads with it twice."""
        return Reader(self._base, self._encoder, self._split.held_out, began)

    def supervised(self, cells: Sequence[Cell], reader: Reader) -> list[Row]:
        """Train the cells from the base in shared steps, and score them as they are served."""
        curriculum = SupervisedCurriculum(self._learned)
        learners = [Learner(cell, self._session(cell, self._adapter(cell)), curriculum) for cell in cells]
        return self._rows(learners, reader, self._recipe.batch)

    def rewarded(
        self, cells: Sequence[Cell], reader: Reader, lower: LowerPart, sampler: Sampler
    ) -> list[Row]:
        """Train the cells on the lower part from rewards of their own replies, and score them as served."""
        tasks = [item.task for item in self._split.learned]
        learners: list[Learner] = []
        for cell in cells:
            method = RewardMethod(tasks, self._base, self._tokenizer, lower.adapter, RewardOptions(REWARD))
            session = self._session(cell, self._adapter(cell).on(lower.adapter, lower.digest))
            learners.append(Learner(cell, session, RolloutCurriculum(method, sampler, self._base, ROUND)))
        return self._rows(learners, reader, PROMPTS)

    def taught(self, path: Path | None) -> LowerPart:
        """Return what cells with rewards begin on, from its file if that exists; else teach and write it.

        The base gets next to nothing right, and replies of which none is right teach nothing.
        """
        if path is not None and path.exists():
            return self._lower(bytearray(path.read_bytes()))
        adapter = TrainableAdapter.begin(self._base.model, self._base.modules, TAUGHT, "uniform", seed=0)
        steps = StepOptions(steps=self._recipe.taught_steps, learning_rate=TAUGHT_RATE, warm_up=WARM_UP)
        session = TrainingSession("taught", adapter, steps)
        curriculum = SupervisedCurriculum(encoded(self._encoder, self._split.taught))
        each = self.teaching_cost / steps.steps
        while session.step < steps.steps:
            for _ in range(min(self._recipe.taught_part, steps.steps - session.step)):
                [outcome] = take_step(self._base, [(session, curriculum.objective(session, TAUGHT_BATCH))])
                if isinstance(outcome, Exception):
                    raise outcome
                self._read(each)
            packed = adapter.pack(self._base.fingerprint, self._base.dtype)
            if self._right(self._lower(packed).adapter, self._split.judging) >= TAUGHT_RIGHT:
                break
        self._read(each * (steps.steps - session.step))
        packed = adapter.pack(self._base.fingerprint, self._base.dtype)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, packed)
        return self._lower(packed)

    def served_rank(self, cells: Sequence[Cell], lower: LowerPart) -> int:
        """Return the largest rank with which any of the cells is served on the lower part."""
        of_starts = {cell.start: cell for cell in cells}.values()
        return max(self._adapter(cell).merged_rank for cell in of_starts) + lower.adapter.merged_rank

    @keeping_freed_memory()
    def _rows(self, learners: Sequence[Learner], reader: Reader, batch: int) -> list[Row]:
        """Take the steps of all learners together, and score each. Who cannot go on has ended."""
        began = time.monotonic()
        ended: dict[Cell, str] = {}
        while active := [one for one in learners if one.cell not in ended and not _is_done(one.session)]:
            ended |= self._step(active, batch)
        seconds = (time.monotonic() - began) / len(learners)
        rows: list[Row] = []
        for cell, session, _ in learners:
            rows.append(Row(cell, reader.score(self._served(session)), seconds, ended.get(cell, "")))
            self._read(self._step_cost(cell) * (self._steps(cell) - session.step) + self._held_out_tokens)
        return rows

    def _step(self, active: Sequence[Learner], batch: int) -> dict[Cell, str]:
        """Take one step of each learner, and return those that cannot go on, with the reason."""
        ended: dict[Cell, str] = {}
        parts: list[Learner] = []
        objectives: list[Objective] = []
        for learner in active:
            try:
                objectives.append(learner.curriculum.objective(learner.session, batch))
                parts.append(learner)
            except NothingToTrain as error:
                ended[learner.cell] = str(error)
        if not parts:
            return ended
        sessions = [learner.session for learner in parts]
        for learner, outcome in zip(
            parts, take_step(self._base, list(zip(sessions, objectives, strict=True))), strict=True
        ):
            if isinstance(outcome, Exception):
                ended[learner.cell] = str(outcome)
            self._read(self._step_cost(learner.cell))
        return ended

    def _session(self, cell: Cell, adapter: TrainableAdapter) -> TrainingSession:
        rates = StepOptions(steps=self._steps(cell), learning_rate=cell.rate, warm_up=WARM_UP, seed=cell.seed)
        name = f"{cell.method} rank {cell.rank} {cell.start} seed {cell.seed}"
        return TrainingSession(name, adapter, rates)

    def _adapter(self, cell: Cell) -> TrainableAdapter:
        """Return a new adapter of the cell, which changes nothing yet.

        Only a uniform start is drawn. The decompositions of all layers take 20 s, so that what they gave is
        kept for the other cells of this start and shape.
        """
        shape = LoraShape(rank=cell.rank, alpha=cell.alpha)
        model, modules = self._base.model, self._base.modules
        if cell.start == "uniform":
            return TrainableAdapter.begin(model, modules, shape, cell.start, seed=cell.seed)
        key = (cell.start, shape)
        if key not in self._begun:
            self._begun[key] = TrainableAdapter.begin(model, modules, shape, cell.start, seed=0)
        return copy.deepcopy(self._begun[key])

    def _served(self, session: TrainingSession) -> TrainableAdapter:
        """Return the adapter as it is served: packing rounds the weights of the training."""
        packed = session.adapter.pack(self._base.fingerprint, self._base.dtype)
        return TrainableAdapter.of_packed(packed, self._base.modules, rank_max=RANK_MAX)

    def _lower(self, packed: bytearray) -> LowerPart:
        adapter = TrainableAdapter.of_packed(packed, self._base.modules, rank_max=RANK_MAX)
        return LowerPart(PackedAdapter(memoryview(packed)).digest, adapter, packed)

    def _right(self, adapter: TrainableAdapter, items: Sequence[Item]) -> float:
        return Reader(self._base, self._encoder, items, adapter).began.right

    def _steps(self, cell: Cell) -> int:
        return self._recipe.steps if cell.method == "sft" else self._recipe.rounds * ROUND.steps

    @property
    def _tokens_each(self) -> float:
        return _tokens(self._learned) / len(self._learned)

    def _step_cost(self, cell: Cell) -> float:
        """Return what a step of the cell costs, in tokens read."""
        tokens = self._tokens_each
        if cell.method == "sft":
            return TRAINED_COST * self._recipe.batch * tokens
        replies = PROMPTS * ROUND.replies / ROUND.steps
        # Beside the training the weights of the round and the parent score each reply.
        return replies * ((TRAINED_COST + 2) * tokens + SAMPLED_COST * ROUND.tokens_max)


def _tokens(sequences: Sequence[TrainSequence]) -> int:
    return sum(len(sequence.ids) for sequence in sequences)


def _is_done(session: TrainingSession) -> bool:
    return session.step >= session.options.steps
