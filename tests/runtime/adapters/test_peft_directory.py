# pyright: reportUnknownVariableType=false
# safetensors' save_file is annotated in part only.
"""What is let in as an adapter, on a fabricated base of two layers."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from populace.actors.errors import AdapterInvalid, AdapterMismatch
from populace.adapters.base_modules import BaseModules, LinearShape
from populace.adapters.peft_directory import FINGERPRINT_KEY, read_peft_directory
from populace.adapters.tensor_file import tensor_name

LINEARS = {
    f"model.layers.{layer}.self_attn.{name}": shape
    for layer in (0, 1)
    for name, shape in (("q_proj", LinearShape(8, 6)), ("k_proj", LinearShape(4, 6)))
}
BASE = BaseModules(LINEARS, "base-1")
Q0 = "model.layers.0.self_attn.q_proj"
K0 = "model.layers.0.self_attn.k_proj"


def tensors_of(*modules: str, rank: int = 2) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for module in modules:
        found[tensor_name(module, "A")] = torch.ones(rank, LINEARS[module].inputs)
        found[tensor_name(module, "B")] = torch.ones(LINEARS[module].outputs, rank)
    return found


def write_changed(directory: Path, field: str, value: object) -> Path:
    config = json.loads((write(directory) / "adapter_config.json").read_text()) | {field: value}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory


def write(
    directory: Path,
    tensors: dict[str, torch.Tensor] | None = None,
    metadata: dict[str, str] | None = None,
    **changes: object,
) -> Path:
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
    } | changes
    (directory / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        tensors_of(Q0) if tensors is None else tensors, directory / "adapter_model.safetensors", metadata
    )
    return directory


def refused(directory: Path) -> AdapterInvalid:
    with pytest.raises(AdapterInvalid) as caught:
        read_peft_directory(directory, BASE, rank_max=16)
    return caught.value


def test_a_sound_adapter_is_read(tmp_path: Path) -> None:
    adapter = read_peft_directory(write(tmp_path), BASE, rank_max=16)

    assert adapter.rank == 2
    assert adapter.targets == ("q_proj",)
    assert adapter.modules == (Q0,)
    assert adapter.config.scaling_of(Q0) == 2.0
    assert adapter.config_bytes == (tmp_path / "adapter_config.json").read_bytes()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "IA3"),
        ("task_type", "SEQ_CLS"),
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("bias", "all"),
        ("lora_bias", True),
        ("layer_replication", [[0, 1]]),
        ("init_lora_weights", "pissa"),
        ("trainable_token_indices", [1]),
        ("target_modules", ".*q_proj"),
        ("target_modules", []),
        ("target_modules", ["(a+)+"]),
        ("r", 0),
        ("r", 2.5),
        ("lora_alpha", "16"),
        ("rank_pattern", {"(a+)+$": 2}),
    ],
)
def test_what_cannot_be_served_is_refused_by_the_name_of_its_field(
    tmp_path: Path, field: str, value: object
) -> None:
    error = refused(write_changed(tmp_path, field, value))

    assert field in error.reason
    assert not isinstance(error, AdapterMismatch)


def test_a_rank_above_the_limit_is_refused(tmp_path: Path) -> None:
    write(tmp_path, tensors_of(Q0, rank=32), r=32)

    assert "rank 32" in refused(tmp_path).reason


def test_patterns_set_rank_and_scaling_of_their_module(tmp_path: Path) -> None:
    tensors = tensors_of(Q0) | tensors_of(K0, rank=4)
    write(
        tmp_path,
        tensors,
        target_modules=["q_proj", "k_proj"],
        rank_pattern={"k_proj": 4},
        alpha_pattern={"layers.0.self_attn.k_proj": 2},
        use_rslora=True,
    )

    adapter = read_peft_directory(tmp_path, BASE, rank_max=16)

    assert adapter.rank == 4
    assert adapter.config.scaling_of(K0) == 1.0
    assert adapter.config.scaling_of(Q0) == pytest.approx(4 / 2**0.5)


def test_a_shape_of_another_base_is_a_mismatch_with_both_shapes(tmp_path: Path) -> None:
    tensors = tensors_of(Q0) | {tensor_name(Q0, "A"): torch.ones(2, 7)}

    error = refused(write(tmp_path, tensors))

    assert isinstance(error, AdapterMismatch)
    assert tensor_name(Q0, "A") in error.reason
    assert "[2, 6]" in error.reason
    assert "[2, 7]" in error.reason


def test_a_layer_that_the_base_does_not_have_is_a_mismatch(tmp_path: Path) -> None:
    name = tensor_name("model.layers.7.self_attn.q_proj", "A")

    assert isinstance(refused(write(tmp_path, {name: torch.ones(2, 6)})), AdapterMismatch)


def test_another_base_fingerprint_is_a_mismatch(tmp_path: Path) -> None:
    write(tmp_path, metadata={FINGERPRINT_KEY: "base-2"})

    assert isinstance(refused(tmp_path), AdapterMismatch)


def test_the_same_base_fingerprint_is_accepted(tmp_path: Path) -> None:
    write(tmp_path, metadata={FINGERPRINT_KEY: "base-1"})

    assert read_peft_directory(tmp_path, BASE, rank_max=16).rank == 2


def test_half_a_pair_is_refused_naming_the_missing_tensor(tmp_path: Path) -> None:
    tensors = tensors_of(Q0)
    del tensors[tensor_name(Q0, "B")]

    assert tensor_name(Q0, "B") in refused(write(tmp_path, tensors)).reason


def test_a_tensor_outside_the_targets_is_refused(tmp_path: Path) -> None:
    assert K0 in refused(write(tmp_path, tensors_of(Q0, K0))).reason


def test_a_target_without_tensors_is_refused(tmp_path: Path) -> None:
    assert "k_proj" in refused(write(tmp_path, target_modules=["q_proj", "k_proj"])).reason


def test_a_tensor_that_is_not_lora_is_refused(tmp_path: Path) -> None:
    tensors = tensors_of(Q0) | {"base_model.model.lm_head.weight": torch.ones(2)}

    assert "lm_head" in refused(write(tmp_path, tensors)).reason


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    tensors = tensors_of(Q0)
    tensors[tensor_name(Q0, "B")][0, 0] = value

    assert tensor_name(Q0, "B") in refused(write(tmp_path, tensors)).reason


def test_integers_are_refused(tmp_path: Path) -> None:
    tensors = {name: tensor.to(torch.int32) for name, tensor in tensors_of(Q0).items()}

    assert "I32" in refused(write(tmp_path, tensors)).reason


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    (write(tmp_path) / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")

    assert "adapter_model.safetensors" in refused(tmp_path).reason


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{!",
        struct.pack("<Q", 10) + b'{"__metadata__": 1}',
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (write(tmp_path) / "adapter_model.safetensors").write_bytes(content)

    refused(tmp_path)


def test_a_cut_tensor_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])

    refused(tmp_path)


@pytest.mark.parametrize("lie", [b'"data_offsets":[0,4]', b'"data_offsets":[-8,0]', b'"dtype":"BF16"'])
def test_a_header_that_says_two_things_of_a_tensor_is_refused(tmp_path: Path, lie: bytes) -> None:
    file = write(tmp_path) / "adapter_model.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].replace(b'{"dtype"', b"{" + lie + b',"dtype"', 1)
    file.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])

    assert "header" in refused(tmp_path).reason


def test_an_oversized_or_unreadable_configuration_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path) / "adapter_config.json"
    for content in (b" " * 300_000, b"[" * 100_000, b"\xff", b"3"):
        file.write_bytes(content)
        refused(tmp_path)
