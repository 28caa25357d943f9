"""As much of a personal part is kept as is better than the lower revision alone, or none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.corrections import CorrectionsCurriculum, Taught
from populace.learning.encoding import ExampleEncoder
from populace.learning.evaluation import HeldOutReplies, reply_losses
from populace.learning.frozen_base import FrozenBase
from populace.learning.lower_part import LowerPart, SharedPart, shared_part
from populace.learning.session import TrainingSession
from populace.learning.trainer import Candidate, Learner
from populace.policies.corrections import Corrected
from populace.policies.personal_share import SHARES, best_share
from populace.storage.packed.adapter import PackedAdapter
from tests.runtime.learning.test_trainer import Watch, candidate_of, learner, replies, trainer

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32)


@pytest.fixture(scope="module")
def encoder(small_base_f32: Path) -> ExampleEncoder:
    return ExampleEncoder(BaseTokenizer(small_base_f32), 256)


@pytest.fixture(scope="module")
def lower(base: FrozenBase, encoder: ExampleEncoder) -> LowerPart:
    """What somebody else has learned."""
    made = candidate_of(trainer(base, encoder).train([learner(base, encoder, "bob")], Watch())["bob"])
    adapter = TrainableAdapter.of_packed(made.packed, base.modules, rank_max=16)
    return LowerPart(PackedAdapter(memoryview(made.packed)).digest, adapter, made.packed)


def on(lower: LowerPart, of: Learner) -> Learner:
    """The same training on a lower revision."""
    part = of.session.adapter.on(lower.adapter, lower.digest)
    session = TrainingSession(of.name, part, of.session.options)
    return replace(of, session=session, parent=of.parent or lower.adapter, lower=lower)


def trained(base: FrozenBase, encoder: ExampleEncoder, of: Learner) -> Candidate:
    return candidate_of(trainer(base, encoder).train([of], Watch())[of.name])


def test_who_learns_on_a_lower_revision_is_better_than_it_and_contains_it(
    base: FrozenBase, encoder: ExampleEncoder, lower: LowerPart
) -> None:
    candidate = trained(base, encoder, on(lower, learner(base, encoder, "ada")))

    assert candidate.verdict.promotes, candidate.verdict
    judged = candidate.evaluation
    assert judged.on is not None
    assert judged.on.share > 0.0
    assert list(judged.on.lower) == list(judged.parent)
    assert sum(judged.candidate) < sum(judged.on.lower)
    served = TrainableAdapter.of_packed(candidate.packed, base.modules, rank_max=16)
    assert served.concatenation is not None
    assert served.concatenation.lower == lower.digest
    for name, layer in lower.adapter.layers.items():
        assert torch.equal(served.layers[name].a[: layer.rank], layer.a)
        assert torch.equal(served.layers[name].b[:, : layer.rank], layer.b)


def test_the_share_that_is_surely_better_by_most_is_what_is_served(
    base: FrozenBase, encoder: ExampleEncoder, lower: LowerPart
) -> None:
    """Learned far too fast, a part of it is better than all of it."""
    ada = on(lower, learner(base, encoder, "ada", learning_rate=0.1))
    assert isinstance(ada.held_out, HeldOutReplies)
    held_out = ada.held_out.sequences

    candidate = trained(base, encoder, ada)

    measured = {
        share: reply_losses(base, ada.session.adapter.with_share(share), held_out) for share in SHARES
    }
    alone = reply_losses(base, lower.adapter, held_out)
    assert measured[0.0] == pytest.approx(alone, abs=1e-5)
    on_lower = candidate.evaluation.on
    assert on_lower is not None
    assert on_lower.share == best_share(measured, alone, "loss")
    if on_lower.share:
        served = TrainableAdapter.of_packed(candidate.packed, base.modules, rank_max=16)
        assert reply_losses(base, served, held_out) == pytest.approx(measured[on_lower.share], abs=1e-4)


@pytest.fixture
def misled(base: FrozenBase, encoder: ExampleEncoder, lower: LowerPart) -> Learner:
    """Somebody who writes as bob does, whose lower revision has learned that, and who is taught otherwise."""
    held_out = HeldOutReplies(base, replies(encoder, "bob", "Who else?", "Who more?", "But who?"))
    return replace(on(lower, learner(base, encoder, "ada")), held_out=held_out)


def test_who_is_better_off_with_the_lower_revision_gets_no_candidate(
    base: FrozenBase, encoder: ExampleEncoder, misled: Learner
) -> None:
    candidate = trained(base, encoder, misled)

    assert candidate.evaluation.on is not None
    assert candidate.evaluation.on.share == 0.0
    assert any(
        "its own part is not surely better than the lower revision alone" in said
        for said in candidate.verdict.objections
    )


def test_only_a_share_that_says_everything_is_taken_and_without_held_out_data_all_of_it(
    base: FrozenBase, encoder: ExampleEncoder, lower: LowerPart, misled: Learner
) -> None:
    part = misled.session.adapter
    for layer in part.layers.values():
        layer.b.data.normal_(std=0.05)

    def found(held_out: HeldOutReplies) -> SharedPart:
        whole = next(iter(part.layers.values())).b.clone()
        return shared_part(
            lower,
            part,
            held_out,
            served=lambda one: one,
            says=lambda one: torch.equal(next(iter(one.layers.values())).b, whole),
        )

    assert isinstance(misled.held_out, HeldOutReplies)
    assert found(misled.held_out).share == 1.0, "the others are better, and do not say it"
    empty = found(HeldOutReplies(base, []))
    assert (empty.share, empty.lower, empty.adapter is part) == (1.0, (), True)


def test_corrections_that_are_taught_on_a_lower_revision_are_said(
    base: FrozenBase, encoder: ExampleEncoder, lower: LowerPart
) -> None:
    sequences = replies(encoder, "ada", "Who?")
    taught = Taught(base, [Corrected(0, "Who?", "ada ada ada.")], sequences, alone=True)
    new = learner(base, encoder, "ada")
    options = replace(new.session.options, steps=120)
    session = TrainingSession("ada", new.session.adapter, options)
    curriculum = CorrectionsCurriculum(base, sequences)
    ada = on(lower, replace(new, session=session, curriculum=curriculum, taught=taught))

    candidate = trained(base, encoder, ada)

    judged = candidate.evaluation
    assert judged.corrections is not None
    assert judged.corrections.unsaid == ()
    assert judged.corrections.said_by_parent == 0
    served = TrainableAdapter.of_packed(candidate.packed, base.modules, rank_max=16)
    assert taught.unsaid(served) == []
    name = next(iter(lower.adapter.layers))
    kept = served.layers[name].a[: lower.adapter.layers[name].rank]
    assert torch.equal(kept, lower.adapter.layers[name].a), "scaling down leaves the lower revision"
