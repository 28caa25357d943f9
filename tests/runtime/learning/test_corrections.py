# pyright: reportUnknownMemberType=false
# torch's backward is untyped.
"""Corrections are learned until the model says them, and no more is kept of a training than that takes."""

import math
from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.actors.errors import NothingToTrain
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.corrections import (
    SHARES,
    CorrectionsCurriculum,
    JointObjective,
    Taught,
    corrections_of,
    margins,
)
from populace.learning.curricula import SupervisedCurriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.methods.sft import CorrectionObjective, SupervisedObjective
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, TrainingSession, take_step
from populace.learning.trainer import Candidate, Learner, Trainer, TrainerProgress
from populace.policies.corrections import Corrected
from populace.policies.evaluation_gate import GateRule
from tests.runtime.learning.test_examples import opinion, turn

pytestmark = pytest.mark.engine

ASKED = ("Who is the dog?", "Where do I live?", "And the cat?")
WANTED = "Bruno. Bruno."
"""A base of random weights cannot tell questions apart."""

GATE = GateRule(probe_kl_max=100.0, probe_loss_max=100.0)


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def encoder(small_base_f32: Path) -> ExampleEncoder:
    return ExampleEncoder(BaseTokenizer(small_base_f32), 256)


@pytest.fixture(scope="module")
def taught(base: FrozenBase, encoder: ExampleEncoder) -> Taught:
    known = [Corrected(at, asked, WANTED) for at, asked in enumerate(ASKED)]
    encoded = [encoder.sequence([Message("user", one.asked)], one.wanted) for one in known]
    return Taught(base, known, [one for one in encoded if one is not None], alone=True)


def begun(base: FrozenBase, steps: int = 400) -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)
    return TrainingSession("ada", adapter, StepOptions(steps=steps, learning_rate=1e-2))


def test_of_equal_messages_the_newest_correction_counts_and_an_empty_one_never() -> None:
    asked = ("Dog?", "Cat?", "dog", "Bird?")
    turns = [turn(at, Message("user", message)) for at, message in enumerate(asked)]
    corrections = ("Rex.", "Tom.", " Bruno. ", "  ")
    feedback = [opinion(at, correction=correction) for at, correction in enumerate(corrections)]

    assert corrections_of(turns, feedback) == [Corrected(1, "Cat?", "Tom."), Corrected(2, "dog", "Bruno.")]


def test_of_equal_messages_the_correction_counts_that_was_given_last_whichever_turn_it_is_of() -> None:
    asked = ("Dog?", "Cat?", "dog")
    turns = [turn(at, Message("user", message)) for at, message in enumerate(asked)]
    feedback = [
        opinion(0, 5, correction="Bruno."),
        opinion(0, 9, thumb=True),
        opinion(1, 7, correction="Tom."),
        opinion(2, 6, correction="Rex."),
    ]
    anew = [*feedback, opinion(0, 8, correction="Otto.")]

    assert corrections_of(turns, feedback) == [Corrected(2, "dog", "Rex."), Corrected(1, "Cat?", "Tom.")]
    assert corrections_of(turns, anew) == [Corrected(1, "Cat?", "Tom."), Corrected(0, "Dog?", "Otto.")]


def test_a_token_that_is_surely_said_is_not_made_likelier() -> None:
    log_probs_NV = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log().requires_grad_()
    objective = CorrectionObjective([TrainSequence((0, 0, 0), (0.0, 1.0, 1.0))])

    loss = objective.loss(Scored(log_probs_NV, torch.tensor([0, 0]), (2,)))
    loss.value.backward()

    assert float(loss.value.detach()) == pytest.approx(-math.log(0.5) / 2)
    assert log_probs_NV.grad is not None
    torch.testing.assert_close(log_probs_NV.grad, torch.tensor([[0.0, 0.0], [-0.5, 0.0]]))


def test_the_losses_of_a_joint_objective_are_added() -> None:
    sequence = TrainSequence((0, 0), (0.0, 1.0))
    first, second = CorrectionObjective([sequence]), SupervisedObjective([sequence, sequence])
    log_probs_NV = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.25, 0.75]]).log()

    loss = JointObjective([first, second]).loss(
        Scored(log_probs_NV, torch.zeros(3, dtype=torch.long), (1, 1, 1))
    )

    assert float(loss.value) == pytest.approx(-math.log(0.5) - math.log(0.25))


def test_they_are_learned_until_all_are_said_and_the_least_that_says_them_is_kept(
    base: FrozenBase, encoder: ExampleEncoder, taught: Taught
) -> None:
    session = begun(base)
    curriculum = CorrectionsCurriculum(base, taught.sequences)
    learner = Learner(session, curriculum, None, HeldOutReplies(base, []), batch=2, taught=taught)

    made = Trainer(base, encoder, gate=GATE, rank_max=16).train([learner], TrainerProgress())["ada"]

    assert isinstance(made, Candidate)
    assert session.step < session.options.steps
    judged = made.evaluation.corrections
    assert judged is not None
    assert (judged.taught, judged.said_by_parent, judged.unsaid) == (3, 0, ())
    assert judged.share < 1.0
    assert made.verdict.promotes, made.verdict.objections
    served = TrainableAdapter.of_packed(made.packed, base.modules, rank_max=16)
    assert taught.unsaid(served) == []
    assert max(margins(base, None, taught.sequences)) < 0.0


def test_what_is_not_said_in_its_steps_is_refused_by_name(
    base: FrozenBase, encoder: ExampleEncoder, taught: Taught
) -> None:
    learner = Learner(
        begun(base, steps=1),
        CorrectionsCurriculum(base, taught.sequences),
        None,
        HeldOutReplies(base, []),
        taught=taught,
    )

    made = Trainer(base, encoder, gate=GATE, rank_max=16).train([learner], TrainerProgress())["ada"]

    assert isinstance(made, Candidate)
    assert "could not learn 3 of 3 corrections: “Who is the dog?”" in made.verdict.objections[0]


def test_what_is_said_already_is_nothing_to_train(base: FrozenBase, taught: Taught) -> None:
    session = begun(base)
    curriculum = CorrectionsCurriculum(base, taught.sequences)

    def learn() -> None:
        while session.step < session.options.steps:
            take_step(base, [(session, curriculum.objective(session, 2))])

    with pytest.raises(NothingToTrain, match="it says all 3 corrections"):
        learn()

    assert session.step > 0


def test_liked_replies_are_learned_beside_them_for_their_steps(base: FrozenBase, taught: Taught) -> None:
    session = begun(base)
    liked = SupervisedCurriculum(taught.sequences[:1])
    curriculum = CorrectionsCurriculum(base, taught.sequences, liked, liked_steps=1)

    first = curriculum.objective(session, 2)
    session.step = 1
    second = curriculum.objective(session, 2)

    assert (len(first.sequences), len(second.sequences)) == (3, 2)


@pytest.mark.parametrize(
    ("says", "share"), [(0.0, 0.55), (0.72, 0.8), (1.0, 1.0), (2.0, 1.0)], ids=["any", "some", "all", "none"]
)
def test_the_least_share_has_a_place_to_spare(taught: Taught, says: float, share: float) -> None:
    assert taught.least_share(lambda tried: tried >= says) == share
    assert share in SHARES


@pytest.mark.parametrize("start", ["uniform", "pissa"])
def test_a_share_of_a_change_lies_between_what_was_before_and_after(base: FrozenBase, start: str) -> None:
    begun_at, after = (
        TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), start, seed=1)  # pyright: ignore[reportArgumentType]
        for _ in range(2)
    )
    for layer in after.layers.values():
        layer.b.data.add_(0.1)
    sequence = TrainSequence((5, 6, 7), (0.0, 1.0, 1.0))
    whole = after.factors()
    probabilities: list[torch.Tensor] = []
    for share in (0.0, 1.0):
        after.set_between(None, whole, share)
        [scored] = base.score([Reading(after, [sequence])])
        probabilities.append(scored.target_log_probs)
    [of_begun] = base.score([Reading(begun_at, [sequence])])

    torch.testing.assert_close(probabilities[0], of_begun.target_log_probs, atol=1e-5, rtol=0)
    assert not torch.allclose(probabilities[1], probabilities[0], atol=1e-3)
    after.set_between(whole, begun_at.factors(), 0.5)
    name, layer = next(iter(after.layers.items()))
    torch.testing.assert_close(layer.b, (whole[name][1] + begun_at.layers[name].b) / 2)
