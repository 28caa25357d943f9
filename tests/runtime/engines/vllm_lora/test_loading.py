# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""What an image becomes in vLLM is what vLLM itself reads from the PEFT directory that it was made of."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

if find_spec("vllm") is None:
    pytest.skip("vLLM is not installed here", allow_module_level=True)

from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper

from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.packing import read_adapter
from populace.adapters.peft_directory import CONFIG_FILE
from populace.adapters.random_adapter import write_random_adapter
from populace.adapters.serving_image import serving_image
from populace.engines.vllm_lora.loading import ImageModel, image_of, layer_weights
from populace.storage.packed.adapter import PackedAdapter
from tests.small_base import make_small_base

pytestmark = pytest.mark.engine

RANK = 4
TARGETS = ("q_proj", "v_proj", "o_proj", "down_proj")


@pytest.fixture(scope="module")
def small_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base"), base_directory)


@pytest.fixture(scope="module")
def modules(small_base: Path) -> BaseModules:
    return read_base_modules(small_base)


@pytest.fixture(params=["plain", "rank-stabilised"])
def directory(request: pytest.FixtureRequest, small_base: Path, tmp_path: Path) -> Path:
    path = write_random_adapter(tmp_path, small_base, seed=3, rank=RANK, alpha=12.0, targets=TARGETS)
    config = json.loads((path / CONFIG_FILE).read_text())
    config["use_rslora"] = request.param == "rank-stabilised"
    (path / CONFIG_FILE).write_text(json.dumps(config))
    return path


def read_by_vllm(directory: Path, dtype: torch.dtype) -> LoRAModel:
    return LoRAModel.from_local_checkpoint(
        str(directory),
        set(TARGETS),
        peft_helper=PEFTHelper.from_local_dir(str(directory), 512),
        lora_model_id=1,
        device="cpu",
        dtype=dtype,
    )


def image(directory: Path, modules: BaseModules, dtype: torch.dtype) -> PackedAdapter:
    return PackedAdapter(memoryview(serving_image(read_adapter(directory, modules, rank_max=RANK), dtype)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_layer_weights_are_those_that_vllm_reads(
    directory: Path, modules: BaseModules, dtype: torch.dtype
) -> None:
    theirs = read_by_vllm(directory, dtype).loras
    ours = layer_weights(image(directory, modules, dtype), str)

    assert set(ours) == set(theirs)
    for name, weights in ours.items():
        assert torch.equal(weights.lora_a, theirs[name].lora_a)
        torch.testing.assert_close(weights.lora_b, theirs[name].optimize().lora_b)
        assert weights.lora_b.dtype is dtype
        assert weights.rank == RANK
        assert weights.scaling == 1


def test_an_adapter_that_vllm_has_read_becomes_an_image_of_the_same_products(
    directory: Path, modules: BaseModules
) -> None:
    of_vllm = image_of(read_by_vllm(directory, torch.float32))
    made = image(directory, modules, torch.float32)

    theirs, ours = layer_weights(of_vllm, str), layer_weights(made, str)

    assert set(theirs) == set(ours)
    for name, weights in ours.items():
        torch.testing.assert_close(weights.lora_b @ weights.lora_a, theirs[name].lora_b @ theirs[name].lora_a)


def test_an_image_in_vllms_books_says_its_largest_rank(directory: Path, modules: BaseModules) -> None:
    model = ImageModel(7, image(directory, modules, torch.bfloat16), {})

    assert (model.id, model.rank) == (7, RANK)
