# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PEFT's and transformers' functions are partly untyped.
"""An adapter as parameters and at rest: what is trained here is what PEFT and the engines read."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from populace.actors.errors import InvalidRequest
from populace.actors.training_options import STARTS, Start
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.packing import unpack_to_peft_directory
from populace.adapters.random_adapter import write_random_adapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.packed_row import Reading
from populace.storage.packed.adapter import PackedAdapter

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64
IDS = (1, 40, 900, 7, 7, 31)


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32)


def moved(adapter: TrainableAdapter) -> TrainableAdapter:
    """As if it had been trained."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return adapter


def scores(base: FrozenBase, adapter: TrainableAdapter | None) -> torch.Tensor:
    sequence = TrainSequence(IDS, (1.0,) * len(IDS))
    with torch.no_grad():
        return base.score([Reading(adapter, [sequence])])[0].log_probs


def peft_scores(directory: Path, base_directory: Path) -> torch.Tensor:
    plain = cast("Any", AutoModelForCausalLM.from_pretrained(base_directory, dtype=torch.float32))
    model = PeftModel.from_pretrained(plain, str(directory)).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([IDS])).logits
    return cast("torch.Tensor", logits)[0, :-1].log_softmax(-1)


@pytest.mark.parametrize("start", STARTS)
def test_peft_reads_what_was_trained_as_it_was_trained(
    start: Start, base: FrozenBase, small_base_f32: Path, tmp_path: Path
) -> None:
    adapter = moved(TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=3), start, seed=1))

    packed = PackedAdapter(memoryview(adapter.pack(FINGERPRINT, torch.float32)))
    unpack_to_peft_directory(packed, tmp_path)

    ours = scores(base, adapter)
    assert not torch.allclose(ours, scores(base, None), atol=1e-2), "the adapter does something"
    assert torch.allclose(ours, peft_scores(tmp_path, small_base_f32), atol=1e-5)


def test_a_revision_is_trained_on_from_what_it_is(
    base: FrozenBase, small_base_f32: Path, tmp_path: Path
) -> None:
    write_random_adapter(tmp_path, small_base_f32, seed=5, rank=4, alpha=6.0)

    adapter = TrainableAdapter.of_revision(tmp_path, base.modules, rank_max=8)

    assert torch.allclose(scores(base, adapter), peft_scores(tmp_path, small_base_f32), atol=1e-5)


@pytest.mark.parametrize("start", STARTS)
def test_the_packed_adapter_of_a_revision_that_did_not_move_is_its_own(
    start: Start, base: FrozenBase, tmp_path: Path
) -> None:
    adapter = moved(TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=3), start, seed=1))
    file = tmp_path / "one.adapter"
    file.write_bytes(adapter.pack(FINGERPRINT, torch.float32))

    again = TrainableAdapter.of_revision(file, base.modules, rank_max=8)

    assert again.pack(FINGERPRINT, torch.float32) == file.read_bytes()


def test_layers_of_other_ranks_and_scalings_stay_what_they_are(base: FrozenBase, tmp_path: Path) -> None:
    wide = TrainableAdapter.begin(
        base.model, base.modules, LoraShape(rank=4, targets=("q_proj",)), "uniform", seed=1
    )
    narrow = TrainableAdapter.begin(
        base.model, base.modules, LoraShape(rank=2, alpha=3.0, targets=("up_proj",)), "uniform", seed=2
    )
    both = moved(TrainableAdapter(wide.layers | narrow.layers))
    file = tmp_path / "one.adapter"
    file.write_bytes(both.pack(FINGERPRINT, torch.float32))

    again = TrainableAdapter.of_revision(file, base.modules, rank_max=8)

    assert torch.equal(scores(base, again), scores(base, both))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (LoraShape(rank=0), "Rank 0"),
        (LoraShape(alpha=-1.0), "alpha -1.0"),
        (LoraShape(rank=10_000), "Rank 10000 is more than"),
        (LoraShape(targets=("q_proj", "experts")), "no layers named experts; it has down_proj"),
        (LoraShape(targets=()), "no layers named nothing"),
    ],
)
def test_a_shape_that_the_base_cannot_have_is_refused_by_name(
    shape: LoraShape, says: str, base: FrozenBase
) -> None:
    with pytest.raises(InvalidRequest, match=says):
        TrainableAdapter.begin(base.model, base.modules, shape, "uniform", seed=1)
