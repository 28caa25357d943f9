"""A candidate's scores are those of what would be served, each on its own text."""

from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning import evaluation
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies, evaluate, reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, TrainingSession, take_step
from populace.policies.evaluation_gate import GateRule, verdict

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def encoder(small_base_f32: Path) -> ExampleEncoder:
    return ExampleEncoder(BaseTokenizer(small_base_f32), 256)


@pytest.fixture(scope="module")
def held_out(encoder: ExampleEncoder) -> list[TrainSequence]:
    said = [("Who is there?", "It is me."), ("Where?", "Here, where I always am."), ("When?", "Now.")]
    sequences = [encoder.sequence([Message("user", ask)], reply) for ask, reply in said]
    return [one for one in sequences if one is not None]


def fresh(base: FrozenBase) -> TrainableAdapter:
    return TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)


def trained_on(base: FrozenBase, sequences: list[TrainSequence]) -> TrainableAdapter:
    session = TrainingSession("ada", fresh(base), StepOptions(steps=8, learning_rate=1e-2))
    for _ in range(8):
        take_step(base, [(session, SupervisedObjective(sequences))])
    return session.adapter


def test_a_replys_loss_is_the_mean_of_its_tokens(base: FrozenBase, held_out: list[TrainSequence]) -> None:
    losses = reply_losses(base, None, held_out)

    for loss, one in zip(losses, held_out, strict=True):
        with torch.no_grad():
            scored = base.score([Reading(None, [one])])[0]
        assert loss == pytest.approx(-float(scored.target_log_probs.mean()), abs=1e-5)


def test_losses_do_not_depend_on_how_sequences_are_cut_into_passes(
    base: FrozenBase, held_out: list[TrainSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = reply_losses(base, None, held_out)
    monkeypatch.setattr(evaluation, "TOKENS_A_PASS", 1)

    assert reply_losses(base, None, held_out) == pytest.approx(together, abs=1e-5)
    assert reply_losses(base, None, []) == []


def test_a_candidate_that_does_nothing_scores_as_the_base_does(
    base: FrozenBase, encoder: ExampleEncoder, held_out: list[TrainSequence]
) -> None:
    scores = evaluate(base, encoder, HeldOutReplies(base, held_out), parent=None, candidate=fresh(base))

    assert scores.candidate == scores.parent
    assert scores.probe_kl == 0
    assert scores.probe_candidate == scores.probe_base
    assert not verdict(scores, GateRule()).promotes


def test_a_candidate_that_learned_what_is_asked_of_it_scores_better_and_moves_away_from_the_base(
    base: FrozenBase, encoder: ExampleEncoder, held_out: list[TrainSequence]
) -> None:
    scores = evaluate(
        base, encoder, HeldOutReplies(base, held_out), parent=None, candidate=trained_on(base, held_out)
    )

    assert all(new < old for new, old in zip(scores.candidate, scores.parent, strict=True))
    assert scores.probe_kl > 0
    assert verdict(scores, GateRule(probe_kl_max=10.0, probe_loss_max=10.0)).promotes


def test_a_candidate_is_judged_beside_its_parent(
    base: FrozenBase, encoder: ExampleEncoder, held_out: list[TrainSequence]
) -> None:
    parent = trained_on(base, held_out)

    scores = evaluate(base, encoder, HeldOutReplies(base, held_out), parent=parent, candidate=fresh(base))

    assert scores.parent == pytest.approx(reply_losses(base, parent, held_out))
    assert not verdict(scores, GateRule()).promotes
