"""A memory module goes to a file and comes back, and no other file is taken for one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from populace.actors.errors import MemoryModuleInvalid, MemoryModuleMismatch
from populace.adapters.base_modules import BaseModules, LinearShape
from populace.adapters.memory.attention import AttentionLayer, attention_layers
from populace.adapters.memory.header import FORMATS
from populace.adapters.memory.layer import LayerWidths, MemoryShape
from populace.adapters.memory.module import MemoryModule, digest_of

BASE = "base-1"
WIDTHS = LayerWidths(hidden=6, query=8)
ATTENTION = tuple(AttentionLayer(f"model.layers.{number}.self_attn", WIDTHS) for number in range(2))
SHAPE = MemoryShape(rank=2, alpha=4.0)
Tensors = dict[str, torch.Tensor]


def filled(shape: MemoryShape = SHAPE) -> MemoryModule:
    module = MemoryModule(shape, (WIDTHS,) * 2, BASE)
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(torch.linspace(-1, number, parameter.numel()).view_as(parameter))
    return module


@pytest.mark.parametrize(
    "shape",
    [
        SHAPE,
        MemoryShape(rank=3, states=2, writes="message"),
        MemoryShape(rank=2, heads="q"),
        MemoryShape(heads="o"),
    ],
)
def test_a_module_comes_back_as_it_was(shape: MemoryShape) -> None:
    module = filled(shape)

    again = MemoryModule.unpack(module.pack(), BASE, ATTENTION)

    assert again.shape == shape
    assert again.pack() == module.pack()
    for name, tensor in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_module_can_be_stored_in_half_the_bytes() -> None:
    module = filled(MemoryShape(rank=4))

    half = module.pack(torch.bfloat16)

    again = MemoryModule.unpack(half, BASE, ATTENTION)
    for name, tensor in module.state_dict().items():
        assert again.state_dict()[name].dtype == torch.float32
        assert torch.equal(again.state_dict()[name], tensor.bfloat16().float())
    assert again.pack(torch.bfloat16) == half


def test_its_digest_tells_every_parameter() -> None:
    module, other = filled(), filled()
    with torch.no_grad():
        other.layer(1).rate_bias[0] += 1e-3

    assert digest_of(module.pack()) == digest_of(filled().pack())
    assert digest_of(other.pack()) != digest_of(module.pack())


def test_a_module_of_another_base_is_refused_by_name() -> None:
    with pytest.raises(MemoryModuleMismatch, match="base-1"):
        MemoryModule.unpack(filled().pack(), "base-2", ATTENTION)


def without_one(tensors: Tensors) -> None:
    del tensors["layers.1.key"]


def with_another(tensors: Tensors) -> None:
    tensors["layers.1.gate"] = torch.zeros(1)


def with_a_wide_one(tensors: Tensors) -> None:
    tensors["layers.1.key"] = torch.zeros(3, 6)


def with_halves(tensors: Tensors) -> None:
    tensors["layers.1.key"] = tensors["layers.1.key"].half()


def with_nan(tensors: Tensors) -> None:
    tensors["layers.1.key"][0, 0] = float("nan")


@pytest.mark.parametrize("change", [without_one, with_another, with_a_wide_one, with_halves, with_nan])
def test_tensors_that_are_not_its_own_are_refused(change: Callable[[Tensors], None]) -> None:
    data = filled().pack()
    tensors = load(data)
    change(tensors)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])

    with pytest.raises(MemoryModuleInvalid, match=r"layers\.1"):
        MemoryModule.unpack(save(tensors, header["__metadata__"]), BASE, ATTENTION)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -4])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "memory.safetensors"
    file.write_bytes(filled().pack()[:kept])

    with pytest.raises(MemoryModuleInvalid):
        MemoryModule.read(file, BASE, ATTENTION)


def test_a_file_that_is_not_there_and_one_of_something_else_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    file.write_bytes(save({"x": torch.zeros(1)}))

    with pytest.raises(MemoryModuleInvalid, match="No such file"):
        MemoryModule.read(tmp_path / "absent", BASE, ATTENTION)
    with pytest.raises(MemoryModuleInvalid):
        MemoryModule.read(file, BASE, ATTENTION)


@pytest.mark.parametrize("told", ["[]", "{", '{"format": "other"}', "null"])
def test_a_file_that_says_something_else_of_itself_is_refused(told: str) -> None:
    with pytest.raises(MemoryModuleInvalid):
        MemoryModule.unpack(save({"x": torch.zeros(1)}, {"populace": told}), BASE, ATTENTION)


@pytest.mark.parametrize("shape", [None, {"rank": "many"}, {"writes": "sometimes"}])
def test_a_shape_that_is_none_is_refused(shape: object) -> None:
    told = json.dumps({"format": FORMATS[0], "base": BASE, "shape": shape})

    with pytest.raises(MemoryModuleInvalid, match="shape"):
        MemoryModule.unpack(save({"x": torch.zeros(1)}, {"populace": told}), BASE, ATTENTION)


def test_attention_layers_are_found_by_their_projections() -> None:
    linears = {
        "model.layers.0.self_attn.q_proj": LinearShape(8, 6),
        "model.layers.0.self_attn.o_proj": LinearShape(6, 8),
        "model.layers.0.mlp.up_proj": LinearShape(12, 6),
        "vision.0.q_proj": LinearShape(8, 6),
    }

    assert attention_layers(BaseModules(linears)) == (ATTENTION[0],)
