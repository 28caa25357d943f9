"""What is kept of a sequence is what its pass gives, and there is never more of it than there is room for."""

from pathlib import Path

import pytest
import torch

from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import anchor_sequences
from populace.learning.encoding import ExampleEncoder
from populace.learning.frozen_base import FrozenBase
from populace.learning.kept_readings import KeptReadings
from populace.learning.methods.objective import TrainSequence
from populace.learning.packed_row import Reading

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    base = FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)
    base.record_inputs(["model.layers.1.self_attn"])
    return base


@pytest.fixture(scope="module")
def texts(small_base_f32: Path) -> list[TrainSequence]:
    return anchor_sequences(ExampleEncoder(BaseTokenizer(small_base_f32), 256))[:6]


@pytest.fixture(scope="module")
def adapter(base: FrozenBase) -> TrainableAdapter:
    made = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)
    for layer in made.layers.values():
        layer.b.data.normal_(std=0.05, generator=torch.Generator().manual_seed(2))
    return made


@pytest.mark.parametrize("adapted", [False, True])
def test_kept_readings_are_those_of_a_whole_pass(
    base: FrozenBase, texts: list[TrainSequence], adapter: TrainableAdapter, *, adapted: bool
) -> None:
    of = adapter if adapted else None
    kept = KeptReadings(base, of)
    with torch.no_grad():
        [scored] = base.score([Reading(of, texts)])

    for _ in range(2):
        assert torch.allclose(kept.log_probs(texts), scored.log_probs, atol=1e-4)
        [hidden_TH] = kept.hidden(texts)
        assert torch.allclose(hidden_TH, scored.hidden[0], atol=1e-4)
    with torch.no_grad():
        [again] = base.score([Reading(of, texts)])
    assert torch.equal(again.log_probs, scored.log_probs), "the model predicts as before"


def test_what_is_kept_does_not_depend_on_the_others_of_its_step(
    base: FrozenBase, texts: list[TrainSequence]
) -> None:
    together, apart = KeptReadings(base), KeptReadings(base)
    together.log_probs(texts)

    for text in reversed(texts):
        assert torch.equal(apart.hidden([text])[0], together.hidden([text])[0])


def test_a_sequence_is_read_again_only_if_there_was_no_room_for_it(
    base: FrozenBase, texts: list[TrainSequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[TrainSequence] = []
    read = base.read

    def counted(adapter: TrainableAdapter | None, sequence: TrainSequence) -> object:
        passes.append(sequence)
        return read(adapter, sequence)

    monkeypatch.setattr(base, "read", counted)
    roomy, narrow = KeptReadings(base), KeptReadings(base, bytes_max=1)
    for _ in range(3):
        roomy.log_probs(texts)
    assert len(passes) == len(texts)

    narrow.log_probs(texts[:3])
    narrow.log_probs(texts[:3])
    assert len(passes) == len(texts) + 3, "the sequences of one step are kept together"
    narrow.log_probs(texts[3:])
    narrow.log_probs(texts[:1])
    assert passes[-1] == texts[0]
