# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""Each architecture that is supported is trained as what it is, and others are refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from populace.actors.errors import AdapterMismatch, InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.base.architectures import REFUSED, SUPPORTED, check_architecture
from populace.base.files import BaseInvalid, read_config
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.methods.sft import SupervisedObjective
from populace.learning.packed_row import Reading
from populace.learning.session import StepOptions, StepReport, TrainingSession, take_step
from tests.tiny_bases import CONFIGS, WINDOW, make_tiny_base

FINGERPRINT = "f" * 64
LENGTHS = (5, WINDOW, 3 * WINDOW, 24)
SEQUENCES = [
    TrainSequence(tuple((7 * at * at + length) % 128 for at in range(length)), (0.0,) + (1.0,) * (length - 1))
    for length in LENGTHS
]

engine = pytest.mark.engine


@pytest.fixture(scope="module", params=sorted(SUPPORTED))
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp(request.param), request.param)


def test_each_supported_architecture_has_a_tiny_base() -> None:
    assert CONFIGS.keys() == SUPPORTED.keys()
    assert not SUPPORTED.keys() & REFUSED.keys()


@engine
def test_a_base_is_read_as_transformers_itself_reads_it(directory: Path) -> None:
    base = FrozenBase(directory, FINGERPRINT, dtype=torch.float32)
    plain: Any = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager")

    with torch.no_grad():
        [read] = base.score([Reading(None, SEQUENCES)])
        alone = torch.cat(
            [
                plain(torch.tensor([sequence.ids])).logits[0, :-1].float().log_softmax(-1)
                for sequence in SEQUENCES
            ]
        )

    assert torch.allclose(read.log_probs, alone, atol=2e-4)


@engine
def test_an_adapter_learns_and_comes_back_packed(directory: Path) -> None:
    base = FrozenBase(directory, FINGERPRINT, dtype=torch.float32)
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=0)
    session = TrainingSession("ada", adapter, StepOptions(steps=8, learning_rate=5e-3, warm_up=0))

    losses: list[float] = []
    for _ in range(8):
        [report] = take_step(base, [(session, SupervisedObjective(SEQUENCES))])
        assert isinstance(report, StepReport)
        losses.append(report.loss)

    assert losses[-1] < losses[0]
    served = TrainableAdapter.of_packed(adapter.pack(FINGERPRINT, torch.float32), base.modules, rank_max=4)
    with torch.no_grad():
        [trained], [read] = (
            base.score([Reading(adapter, SEQUENCES)]),
            base.score([Reading(served, SEQUENCES)]),
        )
    assert torch.allclose(trained.log_probs, read.log_probs, atol=1e-5)
    experts = check_architecture(directory, read_config(directory)).has_experts
    names = {name.rsplit(".", 1)[-1] for name in adapter.layers}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj"} | (
        set() if experts else {"gate_proj", "up_proj", "down_proj"}
    )


@engine
def test_experts_take_no_adapters_and_are_refused_by_name(tmp_path: Path) -> None:
    modules = read_base_modules(make_tiny_base(tmp_path, "MixtralForCausalLM"), FINGERPRINT)

    with pytest.raises(InvalidRequest, match="no layers named down_proj"):
        LoraShape(targets=("q_proj", "down_proj")).modules_of(modules)
    with pytest.raises(AdapterMismatch, match=r"adapts experts \(model\.layers\.0\.mlp\.experts\.3\.w1\)"):
        raise AdapterMismatch(modules.lacking("model.layers.0.mlp.experts.3.w1"))
    assert "no layer model.layers.9.self_attn.q_proj" in modules.lacking("model.layers.9.self_attn.q_proj")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "vision tower.*Gemma3ForCausalLM"),
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM is not supported. Supported are Llama"),
        ({"architectures": [], "model_type": "rwkv"}, "the model type rwkv is not supported"),
        ({"architectures": "LlamaForCausalLM"}, "the model type None is not supported"),
    ],
)
def test_another_architecture_is_refused_by_name(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(BaseInvalid, match=message):
        check_architecture(tmp_path, config)
