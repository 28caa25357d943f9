# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PEFT and transformers are partly untyped.
"""A merged adapter does what its members do together; PEFT comes to the same products."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from populace.actors.errors import InvalidRequest
from populace.actors.merging import MergeOptions
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.lora.layer import LoraLayer
from populace.adapters.lora.merging import Merged, merge_adapters, weights_of
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from tests.small_base import make_small_base

FINGERPRINT = "f" * 64
TARGETS = ("q_proj", "down_proj")
WEIGHTS = [0.5, 1.25, -0.75]


@pytest.fixture(scope="module")
def model(base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    folder = make_small_base(tmp_path_factory.mktemp("base"), base_files, torch.float32)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def base(model: PreTrainedModel, base_files: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseModules:
    folder = make_small_base(tmp_path_factory.mktemp("base"), base_files, torch.float32)
    return read_base_modules(folder, FINGERPRINT)


def adapter(
    model: PreTrainedModel, base: BaseModules, seed: int, rank: int, *targets: str
) -> TrainableAdapter:
    """One that changes something in all that it adapts."""
    shape = LoraShape(rank, targets=targets or TARGETS)
    made = TrainableAdapter.begin(model, base, shape, "uniform", seed=seed)
    source = torch.Generator().manual_seed(seed)
    for layer in made.layers.values():
        layer.b.data = torch.randn(layer.b.shape, generator=source) * 0.1
    return made


def deltas(adapter_: TrainableAdapter) -> dict[str, torch.Tensor]:
    return {name: (layer.b @ layer.a * layer.scaling).detach() for name, layer in adapter_.layers.items()}


@pytest.fixture
def members(model: PreTrainedModel, base: BaseModules) -> list[TrainableAdapter]:
    return [adapter(model, base, seed, 4) for seed in range(3)]


def test_a_sum_is_exact_whatever_the_ranks_and_layers(model: PreTrainedModel, base: BaseModules) -> None:
    members = [
        adapter(model, base, 0, 2),
        adapter(model, base, 1, 5, "q_proj"),
        adapter(model, base, 2, 3),
    ]

    merged = merge_adapters(members, WEIGHTS, MergeOptions("sum"))

    assert merged.kept == 1
    for name, layer in merged.adapter.layers.items():
        x = torch.randn(7, layer.a.shape[1], generator=torch.Generator().manual_seed(3))
        together = torch.zeros(7, layer.b.shape[0])
        for one, weight in zip(members, WEIGHTS, strict=True):
            if name in one.layers:
                together += weight * one.layers[name](x).detach()
        assert torch.allclose(layer(x), together, atol=1e-5)
        assert layer.rank == sum(one.layers[name].rank for one in members if name in one.layers)


@pytest.mark.engine
def test_on_the_real_base_a_sum_adds_what_its_members_add(base_directory: Path) -> None:
    """To 1e-5 of the largest output, at what each layer really reads."""
    real: Any = AutoModelForCausalLM.from_pretrained(base_directory, dtype=torch.float32)
    modules = read_base_modules(base_directory, FINGERPRINT)
    members = [adapter(real, modules, seed, 4, "q_proj", "v_proj", "down_proj") for seed in range(3)]
    merged = merge_adapters(members, WEIGHTS, MergeOptions("sum")).adapter
    read: dict[str, torch.Tensor] = {}
    for name in merged.layers:

        def note(module: Any, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
            del module
            read[name] = inputs[0][0]

        real.get_submodule(name).register_forward_pre_hook(note)
    with torch.no_grad():
        real(input_ids=torch.arange(100, 124)[None])

        for name, layer in merged.layers.items():
            outputs = [
                weight * one.layers[name](read[name]) for one, weight in zip(members, WEIGHTS, strict=True)
            ]
            together = torch.stack(outputs).sum(0)
            off = (layer(read[name]) - together).abs().max() / together.abs().max()
            assert float(off) < 1e-5, name
    assert len(read) == 3 * len(real.model.layers)


def test_what_an_initialisation_took_out_is_merged_too(model: PreTrainedModel, base: BaseModules) -> None:
    begun = TrainableAdapter.begin(model, base, LoraShape(4), "pissa", seed=0)

    merged = merge_adapters([begun, begun], [0.5, 0.5], MergeOptions("sum"))

    largest = max(float(one.abs().max()) for one in deltas(merged.adapter).values())
    assert largest < 1e-5, "it changes nothing yet"


def test_a_cut_is_the_nearest_of_its_rank_and_says_what_it_kept(members: list[TrainableAdapter]) -> None:
    whole = merge_adapters(members, WEIGHTS, MergeOptions("sum")).adapter
    lossless = merge_adapters(members, WEIGHTS, MergeOptions("svd", rank=12))
    cut = merge_adapters(members, WEIGHTS, MergeOptions("svd"))

    assert lossless.kept == pytest.approx(1)
    for name, delta in deltas(whole).items():
        assert torch.allclose(deltas(lossless.adapter)[name], delta, atol=1e-5)
    assert {layer.rank for layer in cut.adapter.layers.values()} == {4}
    made = deltas(cut.adapter)
    lost = sum(float((delta - made[name]).square().sum()) for name, delta in deltas(whole).items())
    total = sum(float(delta.square().sum()) for delta in deltas(whole).values())
    assert cut.kept == pytest.approx(1 - lost / total, abs=1e-5)
    assert 0.3 < cut.kept < 0.95


PEFT_TYPES = {"sum": "cat", "svd": "svd", "ties": "ties_svd"}


@pytest.mark.parametrize("method", ["sum", "svd", "ties"])
def test_peft_comes_to_the_same(model: PreTrainedModel, members: list[TrainableAdapter], method: Any) -> None:
    ours = merge_adapters(members, [0.5, 1.25, 0.75], MergeOptions(method, density=0.3)).adapter

    # Without rank scaling: PEFT scales what it merged by √r then.
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"])
    theirs = get_peft_model(copy.deepcopy(model), config, adapter_name="0")
    for number in range(1, 3):
        theirs.add_adapter(str(number), config)
    for number, member in enumerate(members):
        for name, layer in member.layers.items():
            module: Any = theirs.get_submodule(f"base_model.model.{name}")
            module.lora_A[str(number)].weight.data = layer.a.detach().clone()
            module.lora_B[str(number)].weight.data = layer.b.detach().clone()
    extra: dict[str, Any] = {"svd_rank": 4} if method != "sum" else {}
    extra |= {"density": 0.3} if method == "ties" else {}
    merge: Any = theirs.add_weighted_adapter
    merge(["0", "1", "2"], [0.5, 1.25, 0.75], "all", PEFT_TYPES[method], **extra)

    for name, delta in deltas(ours).items():
        module: Any = theirs.get_submodule(f"base_model.model.{name}")
        other = module.get_delta_weight("all")
        assert torch.allclose(delta, other, atol=2e-4), (delta - other).abs().max()


def test_the_average_of_factors_is_something_else(members: list[TrainableAdapter]) -> None:
    """It is what nobody should get: see the module."""
    pair, half = members[:2], [0.5, 0.5]
    exact = deltas(merge_adapters(pair, half, MergeOptions("sum")).adapter)

    off = []
    for name, delta in exact.items():
        one, other = (member.layers[name].merged() for member in pair)
        linear = ((one.b + other.b) / 2 @ ((one.a + other.a) / 2) * one.scaling).detach()
        off.append(float((linear - delta).norm() / delta.norm()))

    assert min(off) > 0.5


def test_dare_keeps_the_sum_on_average_and_is_the_same_for_the_same_seed(
    members: list[TrainableAdapter],
) -> None:
    options = [MergeOptions("dare", rank=32, density=0.5, seed=seed) for seed in range(24)]
    made = [deltas(merge_adapters(members, WEIGHTS, one).adapter) for one in options]

    again = deltas(merge_adapters(members, WEIGHTS, options[0]).adapter)
    assert all(torch.equal(again[name], made[0][name]) for name in again)
    name = next(iter(again))
    exact = deltas(merge_adapters(members, WEIGHTS, MergeOptions("sum")).adapter)[name]
    mean = torch.stack([one[name] for one in made]).mean(0)
    assert float((mean - exact).norm() / exact.norm()) < 0.35
    assert float((made[0][name] - exact).norm() / exact.norm()) > 0.5


def test_ties_of_members_that_contradict_each_other_leaves_neither_out_nor_mixes_them() -> None:
    def single(*rows: float) -> TrainableAdapter:
        return TrainableAdapter(
            {"q": LoraLayer(torch.tensor([rows]), torch.ones(1, 1), alpha=1.0, rank_scaled=True)}
        )

    members = [single(3.0, 1.0, 0.1), single(-1.0, 2.0, 0.1), single(2.0, -1.0, 0.1)]

    merged = merge_adapters(members, [1.0] * 3, MergeOptions("ties", density=2 / 3))

    assert deltas(merged.adapter)["q"] == pytest.approx(torch.tensor([[2.5, 1.5, 0.0]]), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "weights", "parameter"),
    [
        (MergeOptions("linear"), [1.0], "method"),  # type: ignore[arg-type]
        (MergeOptions("svd", rank=0), [1.0], "rank"),
        (MergeOptions("ties", density=0.0), [1.0], "density"),
        (MergeOptions(), [1.0, 1.0], "weights"),
        (MergeOptions(), [float("nan")], "weights"),
    ],
)
def test_what_nobody_can_mean_is_refused_by_name(
    members: list[TrainableAdapter], options: MergeOptions, weights: list[float], parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        merge_adapters(members[:1], weights, options)

    assert refusal.value.parameter == parameter


def test_weights_are_by_name_and_by_default_alike() -> None:
    assert weights_of(None, ["a", "b"]) == [0.5, 0.5]
    assert weights_of({"b": 2.0, "a": 1.0}, ["a", "b"]) == [1.0, 2.0]
    with pytest.raises(InvalidRequest, match="c"):
        weights_of({"a": 1.0, "c": 1.0}, ["a"])


def test_a_merged_adapter_packs_and_comes_back(
    model: PreTrainedModel, base: BaseModules, members: list[TrainableAdapter]
) -> None:
    merged: Merged = merge_adapters(members, WEIGHTS, MergeOptions("sum"))

    packed = merged.adapter.pack(FINGERPRINT, torch.float32)
    back = TrainableAdapter.of_packed(packed, base, rank_max=16)

    for name, delta in deltas(merged.adapter).items():
        assert torch.allclose(deltas(back)[name], delta, atol=1e-6)
