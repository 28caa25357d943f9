"""What an adapter learns does not move what a memory reads of the hidden states."""

from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.memory.attention import attention_layers
from populace.adapters.memory.layer import MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import anchor_sequences
from populace.learning.curricula import Curriculum, SupervisedCurriculum
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.memory_inputs import KeptInputsCurriculum, MemoryInputs
from populace.learning.methods.objective import Scored, TrainSequence
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from scripts.bench.random_module import random_module

pytestmark = pytest.mark.engine

GATED = MemoryShape(rank=4, gated=True, first_layer=1)
PUBLISHED = MemoryShape(rank=4)


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)


@pytest.fixture(scope="module")
def texts(small_base_f32: Path) -> list[TrainSequence]:
    return anchor_sequences(ExampleEncoder(BaseTokenizer(small_base_f32), 256))


@pytest.fixture(scope="module")
def taught(small_base_f32: Path) -> list[TrainSequence]:
    encoder = ExampleEncoder(BaseTokenizer(small_base_f32), 256)
    encoded = [encoder.sequence([Message("user", ask)], "Bruno. Bruno.") for ask in ("Who?", "And who?")]
    return [sequence for sequence in encoded if sequence is not None]


@pytest.fixture(params=[GATED, PUBLISHED], ids=["gated", "published"])
def module(request: pytest.FixtureRequest, small_base_f32: Path) -> MemoryModule:
    return random_module(small_base_f32, "f" * 64, request.param)


def inputs_of(base: FrozenBase, module: MemoryModule, texts: list[TrainSequence]) -> MemoryInputs:
    return MemoryInputs(module, attention_layers(base.modules), base, texts)


def begun(base: FrozenBase) -> TrainingSession:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)
    return TrainingSession("ada", adapter, StepOptions(steps=12, learning_rate=1e-2))


def trained(base: FrozenBase, curriculum: Curriculum) -> TrainingSession:
    session = begun(base)
    for _ in range(session.options.steps):
        [report] = take_step(base, [(session, curriculum.objective(session, 8))])
        assert isinstance(report, StepReport)
    return session


def scored_by(base: FrozenBase, session: TrainingSession, sequences: list[TrainSequence]) -> Scored:
    with torch.no_grad():
        [scored] = base.score([Reading(session.adapter, sequences)])
    return scored


def test_a_passs_inputs_are_those_of_its_own_adapter(
    base: FrozenBase, module: MemoryModule, texts: list[TrainSequence], taught: list[TrainSequence]
) -> None:
    inputs = inputs_of(base, module, texts)
    session = trained(base, SupervisedCurriculum(taught))

    with torch.no_grad():
        alone, with_adapter = base.score([Reading(None, texts[:2]), Reading(session.adapter, taught)])

    for kept_TH, passed_TH in zip(inputs.of_base(texts[:2]), alone.hidden, strict=True):
        assert torch.allclose(kept_TH, passed_TH, atol=1e-4)
    assert [len(hidden_TH) for hidden_TH in with_adapter.hidden] == [
        sum(len(sequence.ids) for sequence in taught)
    ] * len(module.layers)
    assert not torch.allclose(with_adapter.hidden[-1], inputs.of_base(taught)[-1], atol=1e-2)


def test_what_a_memory_reads_stays_and_the_adapter_learns_all_the_same(
    base: FrozenBase, module: MemoryModule, texts: list[TrainSequence], taught: list[TrainSequence]
) -> None:
    inputs, learned = inputs_of(base, module, texts), SupervisedCurriculum(taught)
    others, replies = texts[-8:], [len(texts[-8].ids) - 2]

    def outcome(session: TrainingSession) -> tuple[float, float]:
        """Return how far it moves what is read of other texts, and how unlikely what it was taught is."""
        hidden = scored_by(base, session, others).hidden
        moved = inputs.moved(hidden, inputs.of_base(others), replies)
        return float(moved), -float(scored_by(base, session, taught).target_log_probs.mean())

    untrained = outcome(begun(base))
    free = outcome(trained(base, learned))
    kept = outcome(trained(base, KeptInputsCurriculum(learned, inputs)))

    assert untrained[0] < 1e-6
    assert kept[0] < 0.3 * free[0]
    assert untrained[1] - kept[1] > 0.5 * (untrained[1] - free[1]) > 0


def test_a_gate_counts_where_a_reply_begins(base: FrozenBase, small_base_f32: Path) -> None:
    module = random_module(small_base_f32, "f" * 64, GATED)
    texts = anchor_sequences(ExampleEncoder(BaseTokenizer(small_base_f32), 256))
    inputs = inputs_of(base, module, texts)
    hidden = inputs.of_base(texts[:1])
    assert module.gates is not None
    # A change that all gates see, and hardly anything else.
    shift_H = torch.nn.functional.normalize(module.gates.read_weight.detach(), dim=0)
    moved = [hidden[0].clone(), *hidden[1:]]
    moved[0][5] += 10 * shift_H

    here, elsewhere = inputs.moved(moved, hidden, [5]), inputs.moved(moved, hidden, [4])

    assert float(here) > 10 * float(elsewhere) > 0


def test_a_pass_that_fails_leaves_nothing_for_the_next(base: FrozenBase, small_base_f32: Path) -> None:
    module = random_module(small_base_f32, "f" * 64, GATED)
    texts = anchor_sequences(ExampleEncoder(BaseTokenizer(small_base_f32), 256))
    inputs = inputs_of(base, module, texts)
    unread = TrainSequence(texts[0].ids[1:], texts[0].weights[1:])
    expected = inputs_of(base, module, texts).of_base([unread])

    def fails(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    hook = base.model.get_submodule(attention_layers(base.modules)[-1].name).register_forward_hook(fails)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            inputs.of_base([unread])
    finally:
        hook.remove()
    again = inputs.of_base([unread])

    assert len(again) == len(expected)
    assert torch.equal(again[0], expected[0])
