"""A merged model says what its adapter says, and a handoff counts all that lies between step and token."""

from pathlib import Path

import pytest
import torch

from populace.adapters.lora.trainable import TrainableAdapter
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.packed_row import Reading
from scripts.bench.handoff import Handoff, HandoffBench, compared
from scripts.bench.merged_handoff import Learner
from tests.small_base import make_small_base

pytestmark = pytest.mark.engine

SEQUENCE = TrainSequence((5, 17, 40, 8, 100), (0.0, 1.0, 1.0, 1.0, 1.0))


def test_a_merged_model_says_what_the_base_says_with_its_adapter(base_files: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    small_base_f32 = make_small_base(tmp_path / "small", base_files, torch.float32)
    learner = Learner(small_base_f32, "f" * 64, rank=4, dtype=torch.float32)
    for _ in range(3):
        learner.step()

    size = learner.write_merged(tmp_path / "merged")

    base = FrozenBase(small_base_f32, "f" * 64, dtype=torch.float32)
    merged = FrozenBase(tmp_path / "merged", "f" * 64, dtype=torch.float32)
    adapter = TrainableAdapter.of_packed(learner.packed(), base.modules, rank_max=4)
    with torch.no_grad():
        [with_adapter] = base.score([Reading(adapter, [SEQUENCE])])
        [alone] = base.score([Reading(None, [SEQUENCE])])
        [of_merged] = merged.score([Reading(None, [SEQUENCE])])
    assert torch.allclose(of_merged.log_probs, with_adapter.log_probs, atol=1e-4)
    assert not torch.allclose(of_merged.log_probs, alone.log_probs, atol=1e-4)
    whole = sum(file.stat().st_size for file in small_base_f32.glob("*.safetensors"))
    assert size == pytest.approx(whole, rel=0.01), "all of the base moves"


@pytest.mark.parametrize(("seconds", "met"), [(37.0, True), (36.0, False)])
def test_the_aim_is_of_all_seconds_from_step_to_token(seconds: float, met: bool) -> None:
    alone = [Handoff(write=0.5, ready=0.5, token=1.0, bytes=5_000_000)] * 3
    merged = [Handoff(write=1.0, ready=seconds - 2.0, token=1.0, bytes=270_000_000)]

    report = compared(HandoffBench(), alone, merged)

    assert [aim.met for aim in report.aims] == [met]
    assert [row["total ms"] for row in report.rows] == [2000, round(seconds * 1000)]
