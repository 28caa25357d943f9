"""A card with too little memory is refused with what is missing, and which setting to change."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import BaseInfo
from populace.base.prepare import BaseModelFiles
from populace.base.sizes import read_sizes
from populace.cluster.engine_plan import check_memory
from populace.cluster.store_side import StoreSide
from populace.policies.engine_devices import GIB, Asked, Card
from populace.settings import machine
from populace.settings.errors import MemoryTooSmall
from populace.settings.settings import Settings
from populace.telemetry.options import TelemetryOptions

# Qwen3-8B, with its weights in the header of a file that has none of their bytes.
CONFIG = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
}
TENSORS = {"model.embed_tokens.weight": (151936, 4096), "lm_head.weight": (151936, 4096)} | {
    f"model.layers.{layer}.{name}.weight": shape
    for layer in range(36)
    for name, shape in {
        "self_attn.q_proj": (4096, 4096),
        "self_attn.k_proj": (1024, 4096),
        "self_attn.v_proj": (1024, 4096),
        "self_attn.o_proj": (4096, 4096),
        "mlp.gate_proj": (12288, 4096),
        "mlp.up_proj": (12288, 4096),
        "mlp.down_proj": (4096, 12288),
        "input_layernorm": (4096,),
    }.items()
}


def base(folder: Path, dtype: str = "BF16", config: dict[str, Any] = CONFIG) -> BaseModelFiles:
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps(
        {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, shape in TENSORS.items()}
    ).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return BaseModelFiles(folder, "Qwen3-8B", "f" * 64, 40960)


def checked(
    files: BaseModelFiles, *, on_gpu: bool, cards: int = 1, replicas: int = 1, **settings: Any
) -> None:
    chosen = Settings(**settings)
    info = BaseInfo(files.name, files.fingerprint, min(chosen.context_tokens, files.context_tokens))
    telemetry = TelemetryOptions(files.directory, b"key")
    side = StoreSide(chosen, "http://127.0.0.1:8000", "store", 8, files, info, None, None, telemetry)
    check_memory(side, Asked("vllm", on_gpu=on_gpu), cards_max=cards, replicas=replicas)


def has_cards(monkeypatch: pytest.MonkeyPatch, gib: int, capability: tuple[int, int] = (8, 9)) -> None:
    monkeypatch.setattr(machine, "cards", lambda: (Card(gib * GIB, capability),))


def test_weights_are_counted_as_they_are_loaded(tmp_path: Path) -> None:
    numbers = 2 * 151936 * 4096 + 36 * (2 * 4096**2 + 2 * 1024 * 4096 + 3 * 12288 * 4096 + 4096)

    assert read_sizes(base(tmp_path, "F32").directory, "auto").weights_bytes == 2 * numbers
    assert read_sizes(tmp_path, "float32").weights_bytes == 4 * numbers
    assert read_sizes(tmp_path, "auto").linear_weights == numbers - 2 * 151936 * 4096 - 36 * 4096


def test_what_fits_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_cards(monkeypatch, 80)
    checked(base(tmp_path), on_gpu=True, sequences_max=256, adapter_slots=32, context_tokens=32768)


def test_a_card_that_is_too_small_is_refused_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_cards(monkeypatch, 24)

    with pytest.raises(MemoryTooSmall) as refused:
        checked(base(tmp_path), on_gpu=True, sequences_max=64, adapter_slots=32, context_tokens=32768)

    said = str(refused.value)
    assert said.startswith(
        "A GPU of 24.00 GiB, of which a replica takes 0.92, has too little memory for Qwen3-8B"
    )
    assert "GiB are missing" in said
    assert "weights 15.2" in said
    assert "POPULACE_CONTEXT_TOKENS=8192 or POPULACE_QUANTIZATION=fp8" in said
    assert "POPULACE_TENSOR_PARALLEL" not in said


def test_more_cards_are_a_remedy_and_an_old_one_cannot_quantise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_cards(monkeypatch, 15, (7, 5))

    with pytest.raises(MemoryTooSmall, match="It fits with POPULACE_TENSOR_PARALLEL=2") as refused:
        checked(base(tmp_path), on_gpu=True, cards=2)
    assert "fp8" not in str(refused.value)
    with pytest.raises(
        MemoryTooSmall, match="No setting alone is enough: it takes a larger GPU, or a smaller base"
    ):
        checked(base(tmp_path), on_gpu=True)


def test_a_machine_that_is_too_small_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: 24 * GIB)

    checked(base(tmp_path), on_gpu=False, training="off", kv_cache_gib=4)
    with pytest.raises(MemoryTooSmall, match="It fits with POPULACE_TRAINING=off"):
        checked(base(tmp_path), on_gpu=False, kv_cache_gib=4)


def test_engines_of_other_machines_are_theirs_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_cards(monkeypatch, 1)

    checked(base(tmp_path), on_gpu=True, replicas=0)


def test_the_memory_of_a_container_is_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CONTAINER_LIMIT", limit)
    whole = machine.memory_bytes()

    limit.write_text("1048576\n")
    assert machine.memory_bytes() == 2**20
    limit.write_text("max\n")
    assert machine.memory_bytes() == whole
