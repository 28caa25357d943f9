"""What cannot work on the machines that are there is refused by name before an engine loads."""

import json
from pathlib import Path
from typing import Any

import pytest

from populace.base.files import BaseInvalid
from populace.base.prepare import BaseModelFiles
from populace.cluster.engine_plan import check_devices
from populace.engines.engine_nodes import ENGINE_LABELS, EngineNodes
from populace.policies.card_shares import CardShares
from populace.policies.engine_devices import GIB, Card
from populace.settings import machine
from populace.settings.errors import SettingsError
from populace.settings.settings import Settings

CONFIG = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 32, "num_key_value_heads": 8}


@pytest.fixture(autouse=True)
def one_old_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cards", lambda: (Card(15 * GIB, (7, 5)),))


def base(folder: Path, config: dict[str, Any]) -> BaseModelFiles:
    (folder / "config.json").write_text(json.dumps(config))
    return BaseModelFiles(folder, "base", "f" * 64, 2048)


def checked(files: BaseModelFiles, gpus: int, **settings: Any) -> Any:
    node = {"Alive": True, "Labels": ENGINE_LABELS, "Resources": {"GPU": float(gpus)}}
    engines = EngineNodes(ENGINE_LABELS, gpus=settings.get("tensor_parallel", 1) if gpus else 0)
    return check_devices(Settings(**settings), "vllm", files, [node], engines, CardShares(1, 0))


@pytest.mark.parametrize(
    ("gpus", "settings", "message"),
    [
        (1, {"tensor_parallel": 2}, "POPULACE_TENSOR_PARALLEL is '2'.*more than 1 GPUs"),
        (0, {"gpu_memory_share": 0.5}, "POPULACE_GPU_MEMORY_SHARE is '0.5'.*needs GPUs"),
        (1, {"quantization": "fp8"}, "POPULACE_QUANTIZATION is 'fp8'.*compute capability 7.5"),
        (1, {"batched_tokens_max": 16}, "POPULACE_BATCHED_TOKENS_MAX is '16'.*of 20 replies"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    tmp_path: Path, gpus: int, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        checked(base(tmp_path, CONFIG), gpus, sequences_max=16, **settings)


def test_the_configuration_of_a_base_may_be_within_that_of_more(tmp_path: Path) -> None:
    text = {**CONFIG, "model_type": "gemma3_text"}
    files = base(tmp_path, {"architectures": ["Gemma3ForCausalLM"], "text_config": text})

    with pytest.raises(SettingsError, match=r"POPULACE_ENGINE_DTYPE is 'float16'.*overflows"):
        checked(files, 1, engine_dtype="float16")


def test_nothing_is_trained_on_a_base_whose_files_are_quantised(tmp_path: Path) -> None:
    files = base(tmp_path, {**CONFIG, "quantization_config": {"quant_method": "awq"}})

    with pytest.raises(SettingsError, match=r"POPULACE_TRAINING is 'auto'.*\(awq\); use off"):
        checked(files, 1)
    assert checked(files, 1, training="off").on_gpu


def test_a_folder_without_a_configuration_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(BaseInvalid, match=r"config\.json"):
        checked(BaseModelFiles(tmp_path, "base", "f" * 64, 2048), 1)
