"""Everybody's training ends in a candidate with its scores or in what went wrong, and disturbs nobody."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.actors.errors import TrainingDiverged, TrainingFailed, TrainingStopped
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.curricula import Curriculum, SupervisedCurriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies, evaluate, score_alone
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Objective, Scored, TrainSequence
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, StepReport, TrainingSession
from populace.learning.session_file import pack_session, unpack_session
from populace.learning.trainer import Candidate, Learner, Trainer, TrainerProgress
from populace.policies.evaluation_gate import Evaluation, GateRule

pytestmark = pytest.mark.engine

GATE = GateRule(probe_kl_max=10.0, probe_loss_max=10.0)
"""A base of random weights has no general knowledge to lose."""


class Watch(TrainerProgress):
    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []
        self.stopped: set[str] = set()
        """Who takes three steps and no more."""
        self.gone: set[str] = set()
        """Who is no longer wanted."""

    def stepped(self, name: str, report: StepReport, seconds: float) -> None:
        assert seconds > 0
        self.steps.append((name, report.step))

    def goes_on(self, name: str) -> bool:
        return self.is_wanted(name) and (self.steps.count((name, 2)) == 0 or name not in self.stopped)

    def is_wanted(self, name: str) -> bool:
        return name not in self.gone


class SmallMemory(FrozenBase):
    """A base on a machine that has memory to learn from so many tokens; torch says so when there are more."""

    tokens_max = 60

    def score(self, readings: Sequence[Reading]) -> list[Scored]:
        tokens = sum(len(one.ids) for reading in readings for one in reading.sequences)
        if torch.is_grad_enabled() and tokens > self.tokens_max:
            torch.empty(2**60)
        return super().score(readings)


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def encoder(small_base_f32: Path) -> ExampleEncoder:
    return ExampleEncoder(BaseTokenizer(small_base_f32), 256)


def replies(encoder: ExampleEncoder, name: str, *asks: str) -> list[TrainSequence]:
    found = [encoder.sequence([Message("user", ask)], f"{name} {name} {name}.") for ask in asks]
    return [one for one in found if one is not None]


def learner(
    base: FrozenBase,
    encoder: ExampleEncoder,
    name: str,
    *,
    learning_rate: float = 1e-2,
    parent: TrainableAdapter | None = None,
    asks: tuple[str, ...] = ("Who?", "And who?", "Who then?"),
) -> Learner:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)
    return Learner(
        TrainingSession(name, adapter, StepOptions(steps=6, learning_rate=learning_rate)),
        SupervisedCurriculum(replies(encoder, name, *asks)),
        parent,
        HeldOutReplies(base, replies(encoder, name, "Who else?", "Who more?", "But who?")),
    )


def trainer(base: FrozenBase, encoder: ExampleEncoder, *, tokens_a_step: int = 2048) -> Trainer:
    return Trainer(base, encoder, gate=GATE, rank_max=16, tokens_a_step=tokens_a_step)


def candidate_of(outcome: Candidate | TrainingFailed) -> Candidate:
    assert isinstance(outcome, Candidate), outcome
    return outcome


def test_who_has_learned_something_gets_a_candidate_that_is_promoted(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    ada, watch = learner(base, encoder, "ada"), Watch()

    candidate = candidate_of(trainer(base, encoder).train([ada], watch)["ada"])

    assert candidate.verdict.promotes, candidate.verdict
    assert len(candidate.losses) == 6
    assert candidate.losses[-1] < candidate.losses[0]
    assert watch.steps == [("ada", step) for step in range(6)]
    read = replies(encoder, "ada", "Who?", "And who?", "Who then?")
    assert candidate.tokens == 6 * sum(len(one.ids) for one in read)
    served = TrainableAdapter.of_packed(candidate.packed, base.modules, rank_max=16)
    again = evaluate(base, encoder, ada.held_out, parent=None, candidate=served)
    assert again == candidate.evaluation, "the scores are those of what is served"


def test_who_has_learned_nothing_more_than_the_parent_is_rejected(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    [taught] = trainer(base, encoder).train([learner(base, encoder, "ada")], Watch()).values()
    parent = TrainableAdapter.of_packed(candidate_of(taught).packed, base.modules, rank_max=16)

    idle = learner(base, encoder, "ada", learning_rate=1e-9, parent=parent)
    candidate = candidate_of(trainer(base, encoder).train([idle], Watch())["ada"])

    assert not candidate.verdict.promotes
    assert "held-out loss" in candidate.verdict.objections[0]


@pytest.mark.parametrize("tokens_a_step", [1, 90, 2048])
def test_people_learn_the_same_however_many_share_a_step(
    base: FrozenBase, encoder: ExampleEncoder, tokens_a_step: int
) -> None:
    names = ("ada", "bob", "eve")
    alone = {
        name: candidate_of(trainer(base, encoder).train([learner(base, encoder, name)], Watch())[name])
        for name in names
    }

    watch = Watch()
    together = trainer(base, encoder, tokens_a_step=tokens_a_step).train(
        [learner(base, encoder, name) for name in names], watch
    )

    for name in names:
        assert candidate_of(together[name]).losses == pytest.approx(alone[name].losses, rel=1e-4)
    assert watch.steps == [(name, step) for step in range(6) for name in names], "nobody is ahead of another"


def test_who_diverges_fails_alone_and_by_name(base: FrozenBase, encoder: ExampleEncoder) -> None:
    learners = [learner(base, encoder, "ada"), learner(base, encoder, "bob", learning_rate=1e38)]

    outcomes = trainer(base, encoder).train(learners, Watch())

    assert candidate_of(outcomes["ada"]).verdict.promotes
    assert isinstance(outcomes["bob"], TrainingDiverged)
    assert "`bob`" in str(outcomes["bob"])


def test_what_does_not_fit_into_memory_together_is_done_in_parts(
    small_base_f32: Path, base: FrozenBase, encoder: ExampleEncoder
) -> None:
    tight = SmallMemory(small_base_f32, "f" * 64, dtype=torch.float32)
    names = ("ada", "bob", "eve")
    roomy = trainer(base, encoder).train(
        [learner(base, encoder, name, asks=("Who?",)) for name in names], Watch()
    )

    outcomes = trainer(tight, encoder).train(
        [learner(tight, encoder, name, asks=("Who?",)) for name in names], Watch()
    )

    for name in names:
        assert candidate_of(outcomes[name]).losses == pytest.approx(
            candidate_of(roomy[name]).losses, rel=1e-4
        )


def test_one_who_does_not_fit_into_memory_alone_fails_by_name(
    small_base_f32: Path, encoder: ExampleEncoder
) -> None:
    tight = SmallMemory(small_base_f32, "f" * 64, dtype=torch.float32)
    giant = learner(tight, encoder, "ada", asks=("Who? " * 40,))

    [outcome] = trainer(tight, encoder).train([giant], Watch()).values()

    assert isinstance(outcome, TrainingFailed)
    assert "does not fit into memory" in str(outcome)


def test_who_is_stopped_can_go_on_to_the_same_bits_and_the_others_are_not_stopped(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    whole = candidate_of(trainer(base, encoder).train([learner(base, encoder, "ada")], Watch())["ada"])
    ada, bob, watch = learner(base, encoder, "ada"), learner(base, encoder, "bob"), Watch()
    watch.stopped = {"ada"}

    # One after the other: who shares a step with whom changes the rounding.
    outcomes = trainer(base, encoder, tokens_a_step=1).train([ada, bob], watch)

    assert isinstance(outcomes["ada"], TrainingStopped)
    assert ada.session.step == 3
    assert candidate_of(outcomes["bob"]).verdict.promotes
    rest = trainer(base, encoder).train([ada], Watch())
    assert candidate_of(rest["ada"]).packed == whole.packed


class Drawing:
    """Says when a batch is drawn from the curriculum."""

    def __init__(self, curriculum: Curriculum, drawn: Callable[[], None]) -> None:
        self._curriculum = curriculum
        self._drawn = drawn

    @property
    def size(self) -> int:
        return self._curriculum.size

    def objective(self, session: TrainingSession, batch: int) -> Objective:
        self._drawn()
        return self._curriculum.objective(session, batch)


class Judging:
    """A judge of replies that says when it judges, and reads with the base."""

    def __init__(self, base: FrozenBase, encoder: ExampleEncoder, judges: Callable[[], None]) -> None:
        self._read = lambda: score_alone(base, None, replies(encoder, "ada", "Who?"))
        self._judges = judges

    def judge(self, evaluation: Evaluation, candidate: TrainableAdapter) -> Evaluation:
        self._judges()
        self._read()
        return evaluation


def test_who_is_gone_while_others_draw_their_batches_draws_none(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    watch, drawn = Watch(), list[str]()
    ada, bob = learner(base, encoder, "ada"), learner(base, encoder, "bob")

    def ada_draws() -> None:
        drawn.append("ada")
        watch.gone.add("bob")

    ada = replace(ada, curriculum=Drawing(ada.curriculum, ada_draws))
    bob = replace(bob, curriculum=Drawing(bob.curriculum, lambda: drawn.append("bob")))
    outcomes = trainer(base, encoder).train([ada, bob], watch)

    assert drawn == ["ada"] * 6
    assert isinstance(outcomes["bob"], TrainingStopped)
    candidate_of(outcomes["ada"])


def test_a_batch_of_who_is_gone_ends_within_one_pass_of_the_base(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    watch, drawn = Watch(), list[str]()
    ada = learner(base, encoder, "ada")

    def draw() -> None:
        drawn.append("ada")
        watch.gone.add("ada")
        score_alone(base, None, replies(encoder, "ada", "Who?"))
        drawn.append("the base has read")

    ada = replace(ada, curriculum=Drawing(ada.curriculum, draw))
    outcomes = trainer(base, encoder).train([ada], watch)

    assert isinstance(outcomes["ada"], TrainingStopped)
    assert drawn == ["ada"]


def test_who_is_gone_is_not_judged_on_and_the_others_are(base: FrozenBase, encoder: ExampleEncoder) -> None:
    watch, judged = Watch(), list[str]()

    def judges(name: str, *gone: str) -> Judging:
        return Judging(base, encoder, lambda: (judged.append(name), watch.gone.update(gone))[0])

    ada, bob, eve = (learner(base, encoder, name) for name in ("ada", "bob", "eve"))
    ada = replace(ada, judges=[judges("ada", "ada", "bob"), judges("ada")])
    bob, eve = replace(bob, judges=[judges("bob")]), replace(eve, judges=[judges("eve")])
    outcomes = trainer(base, encoder).train([ada, bob, eve], watch)

    assert judged == ["ada", "eve"]
    assert isinstance(outcomes["ada"], TrainingStopped)
    assert isinstance(outcomes["bob"], TrainingStopped)
    candidate_of(outcomes["eve"])


def test_a_training_that_was_cut_short_goes_on_to_the_same_bits(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    whole = candidate_of(trainer(base, encoder).train([learner(base, encoder, "ada")], Watch())["ada"])

    class Killed(Exception):
        pass

    class Until(Watch):
        def stepped(self, name: str, report: StepReport, seconds: float) -> None:
            if report.step == 2:
                raise Killed

    cut = learner(base, encoder, "ada")
    with pytest.raises(Killed):
        trainer(base, encoder).train([cut], Until())
    resumed, _ = unpack_session(pack_session(cut.session, {}))
    rest = Learner(resumed, cut.curriculum, None, cut.held_out)

    assert candidate_of(trainer(base, encoder).train([rest], Watch())["ada"]).packed == whole.packed
