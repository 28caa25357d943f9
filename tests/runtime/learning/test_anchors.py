"""What has nothing to do with anybody stays what the base says, as far as it is asked to."""

from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import (
    ANCHORS,
    ANCHORS_A_STEP,
    AnchoredCurriculum,
    AnchoredObjective,
    AnchorGroup,
    anchor_sequences,
)
from populace.learning.curricula import Curriculum, SupervisedCurriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies, evaluate
from populace.learning.frozen_base import FrozenBase
from populace.learning.kept_readings import KeptReadings
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.packed_row import Reading
from populace.learning.probes import PROBES
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def encoder(small_base_f32: Path) -> ExampleEncoder:
    return ExampleEncoder(BaseTokenizer(small_base_f32), 256)


def test_an_anchors_loss_is_that_of_a_hand_computed_case() -> None:
    learned, anchor = TrainSequence((5, 1), (0.0, 1.0)), TrainSequence((5, 0), (0.0, 1.0))
    now_NV = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).log()
    base_NV = torch.tensor([[0.5, 0.5]]).log()
    objective = AnchoredObjective(SupervisedObjective([learned]), [anchor], base_NV, 3.0)

    loss = objective.loss(Scored(now_NV, torch.tensor([1, 0]), (1, 1)))

    # −ln 0.5 for what is learned; 0.5 ln(0.5/0.8) + 0.5 ln(0.5/0.2) = 0.22314 for the anchor.
    assert objective.sequences == (learned, anchor)
    assert loss.metrics["anchor_kl"] == pytest.approx(0.22314, abs=1e-5)
    assert float(loss.value) == pytest.approx(0.69315 + 3 * 0.22314, abs=1e-4)


def test_the_anchors_of_a_step_follow_from_seed_and_step(base: FrozenBase, encoder: ExampleEncoder) -> None:
    learned = SupervisedCurriculum(anchor_sequences(encoder)[:1])
    curriculum = AnchoredCurriculum(
        learned, [AnchorGroup(anchor_sequences(encoder))], KeptReadings(base), 1.0
    )

    def drawn(step: int) -> list[TrainSequence]:
        session = begun(base, steps=9)
        session.step = step
        return list(curriculum.objective(session, 8).sequences[1:])

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert len(drawn(3)) == ANCHORS_A_STEP


def test_no_question_both_anchors_and_judges() -> None:
    assert {one.ask for one in ANCHORS}.isdisjoint(one.ask for one in PROBES)
    assert len({one.ask for one in ANCHORS}) == len(ANCHORS)


def test_who_learns_on_a_lower_revision_is_kept_to_its_replies_and_not_to_the_bases(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    anchors = anchor_sequences(encoder)
    lower = begun(base, steps=1).adapter
    for layer in lower.layers.values():
        layer.b.data.normal_(std=0.05)
    session = begun(base, steps=1)
    session.adapter = session.adapter.on(lower, "d" * 64)

    def divergence(below: TrainableAdapter | None) -> float:
        learned = SupervisedCurriculum(anchors[:1])
        curriculum = AnchoredCurriculum(learned, [AnchorGroup(anchors)], KeptReadings(base, below), 1.0)
        objective = curriculum.objective(session, 1)
        [scored] = base.score([Reading(session.adapter, objective.sequences)])
        return objective.loss(scored).metrics["anchor_kl"]

    assert divergence(lower) == pytest.approx(0.0, abs=1e-6), "its own part says nothing yet"
    assert divergence(None) > 1e-3


def begun(base: FrozenBase, *, steps: int) -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)
    return TrainingSession("ada", adapter, StepOptions(steps=steps, learning_rate=1e-2))


def test_who_learns_with_anchors_learns_and_stays_nearer_to_the_base(
    base: FrozenBase, encoder: ExampleEncoder
) -> None:
    found = [encoder.sequence([Message("user", ask)], "Bruno. Bruno.") for ask in ("Who?", "And who?")]
    learned = SupervisedCurriculum([one for one in found if one is not None])

    def trained(curriculum: Curriculum) -> tuple[float, float]:
        """How far it is from the base in the end, and how unlikely what it was taught is."""
        session = begun(base, steps=12)
        for _ in range(12):
            [report] = take_step(base, [(session, curriculum.objective(session, 8))])
            assert isinstance(report, StepReport)
        judged = evaluate(
            base, encoder, HeldOutReplies(base, learned.sequences), parent=None, candidate=session.adapter
        )
        return judged.probe_kl, sum(judged.candidate) / sum(judged.parent)

    free = trained(learned)
    kept = trained(
        AnchoredCurriculum(learned, [AnchorGroup(anchor_sequences(encoder))], KeptReadings(base), 10.0)
    )

    assert kept[0] < 0.5 * free[0]
    assert kept[1] < 0.9
