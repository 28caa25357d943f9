# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch, transformers and PEFT are partly untyped.
"""PEFT directory → packed adapter → PEFT directory: bit for bit, whatever PEFT itself writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner, Result

from populace.actors.errors import AdapterInvalid
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.packing import pack_peft_directory, unpack_to_peft_directory
from populace.adapters.peft_directory import CONFIG_FILE, TENSOR_FILE
from populace.cli.main import app
from populace.storage.packed.adapter import PackedAdapter
from tests.small_base import make_small_base

pytestmark = pytest.mark.engine

RANK_MAX = 64
CONFIGURATIONS = {
    "attention": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "rank-stabilised": {"target_modules": ["q_proj", "up_proj"], "use_rslora": True},
    "ranks and alphas of modules": {
        "target_modules": ["q_proj", "down_proj"],
        "rank_pattern": {"down_proj": 4, "layers.0.self_attn.q_proj": 2},
        "alpha_pattern": {"q_proj": 5.5},
    },
    "some layers": {"target_modules": ["q_proj"], "layers_to_transform": [1]},
}


@pytest.fixture(scope="module")
def small_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base"), base_directory)


@pytest.fixture(scope="module")
def modules(small_base: Path) -> BaseModules:
    return read_base_modules(small_base, "f" * 64)


@pytest.fixture(params=CONFIGURATIONS)
def directory(request: pytest.FixtureRequest, small_base: Path, tmp_path: Path) -> Path:
    """What PEFT saves of an adapter that has learned something."""
    return saved_by_peft(small_base, tmp_path / "peft", **CONFIGURATIONS[request.param])


def saved_by_peft(small_base: Path, to: Path, **options: object) -> Path:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(small_base, dtype=torch.bfloat16)
    config = LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM", **options)  # type: ignore[arg-type]
    model = get_peft_model(base, config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter, dtype=torch.float32).to(parameter.dtype)
    model.save_pretrained(str(to))
    return to


def test_what_peft_saved_comes_back_bit_for_bit(
    directory: Path, modules: BaseModules, tmp_path: Path
) -> None:
    packed = PackedAdapter(memoryview(pack_peft_directory(directory, modules, rank_max=RANK_MAX)))
    packed.verify()

    unpack_to_peft_directory(packed, tmp_path / "again")

    for name in (CONFIG_FILE, TENSOR_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()
    again = pack_peft_directory(tmp_path / "again", modules, rank_max=RANK_MAX)
    assert PackedAdapter(memoryview(again)).digest == packed.digest


def test_its_groups_hold_the_tensors_and_the_scaling_that_peft_computes(
    directory: Path, modules: BaseModules, small_base: Path
) -> None:
    packed = PackedAdapter(memoryview(pack_peft_directory(directory, modules, rank_max=RANK_MAX)))
    tensors = load_file(directory / TENSOR_FILE)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(small_base, dtype=torch.bfloat16), str(directory)
    )

    found = 0
    for group in packed.groups:
        stacked = packed.group(group).reshape(-1, *group.shape)
        for (factor, _), matrix in zip(group.factors(), stacked, strict=True):
            tensor = tensors[f"base_model.model.{factor.module}.lora_{factor.side}.weight"]
            assert np.array_equal(matrix if factor.side == "A" else matrix.T, _bits(tensor))
            layer = model.get_submodule(f"base_model.model.{factor.module}")
            assert layer.scaling["default"] == pytest.approx(packed.scaling_of(group))  # type: ignore[index]
            found += 1
    assert found == len(tensors)


def test_an_adapter_is_packed_into_two_groups_for_each_target(
    small_base: Path, modules: BaseModules, tmp_path: Path
) -> None:
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    directory = saved_by_peft(small_base, tmp_path, target_modules=targets)

    packed = PackedAdapter(memoryview(pack_peft_directory(directory, modules, rank_max=RANK_MAX)))

    assert len(packed.groups) == 2 * len(targets)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"use_dora": True}, "DoRA"), ({"modules_to_save": ["norm"]}, "modules_to_save")],
)
def test_what_is_not_served_is_refused_by_name(
    options: dict[str, object], named: str, small_base: Path, modules: BaseModules, tmp_path: Path
) -> None:
    directory = saved_by_peft(small_base, tmp_path, target_modules=["q_proj"], **options)

    with pytest.raises(AdapterInvalid, match=named):
        pack_peft_directory(directory, modules, rank_max=RANK_MAX)


def adapter(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["adapter", *map(str, arguments)])


def test_the_commands_pack_show_and_unpack(directory: Path, small_base: Path, tmp_path: Path) -> None:
    packed, again = tmp_path / "ada.adapter", tmp_path / "again"

    imported = adapter("import", directory, packed, "--base", small_base)
    assert imported.exit_code == 0, imported.output
    shown = json.loads(adapter("show", packed, "--json").output)
    assert shown["digest"] in imported.output
    assert shown["bytes"] == packed.stat().st_size
    assert "q_proj" in adapter("show", packed).output
    exported = adapter("export", packed, again)
    assert exported.exit_code == 0, exported.output
    assert (again / TENSOR_FILE).read_bytes() == (directory / TENSOR_FILE).read_bytes()

    refused = adapter("export", packed, again)
    assert refused.exit_code == 1
    assert "not empty" in " ".join(refused.output.split())


def test_the_commands_refuse_what_is_damaged_by_name(tmp_path: Path) -> None:
    (tmp_path / "damaged").write_bytes(b"PopLoRA\x01 and then nothing")

    for command in (("show", tmp_path / "damaged"), ("export", tmp_path / "damaged", tmp_path / "out")):
        refused = adapter(*command)
        assert refused.exit_code == 1
        assert "not a sound packed adapter" in refused.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def _bits(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.view(torch.uint16).numpy() if tensor.dtype is torch.bfloat16 else tensor.numpy()
