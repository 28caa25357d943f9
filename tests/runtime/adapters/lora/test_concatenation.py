"""A personal part on a lower revision is served as one adapter, which is their sum and is split again."""

import json
from pathlib import Path

import pytest
import torch

from populace.actors.engine import AdapterRef, GenerateRequest, Message, Sampling
from populace.actors.errors import AdapterInvalid
from populace.actors.training_options import STARTS, Start
from populace.adapters.lora.concatenation import KEY, Concatenation
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.packing import pack_peft_directory, unpack_to_peft_directory
from populace.adapters.random_adapter import write_random_adapter
from populace.engines.options import EngineOptions
from populace.engines.prompts import BaseTokenizer
from populace.engines.torch_engine import TorchEngine
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.packed_row import Reading
from populace.storage.packed.adapter import PackedAdapter
from tests.runtime.adapters.lora.test_trainable import FINGERPRINT, moved, peft_scores, scores

pytestmark = pytest.mark.engine

LOWER = "d" * 64
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32)


@pytest.fixture(scope="module")
def lower(
    base: FrozenBase, small_base_f32: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainableAdapter:
    """Another rank, other layers and another scaling, by alpha / rank and not by its root."""
    path = tmp_path_factory.mktemp("lower")
    write_random_adapter(path, small_base_f32, seed=5, rank=4, alpha=6.0, targets=ATTENTION)
    return TrainableAdapter.of_revision(path, base.modules, rank_max=8)


def personal(
    base: FrozenBase, start: Start = "uniform", targets: tuple[str, ...] = ("q_proj", "up_proj")
) -> TrainableAdapter:
    shape = LoraShape(rank=3, targets=targets)
    return moved(TrainableAdapter.begin(base.model, base.modules, shape, start, seed=1))


def packed(adapter: TrainableAdapter) -> PackedAdapter:
    return PackedAdapter(memoryview(adapter.pack(FINGERPRINT, torch.float32)))


def read(base: FrozenBase, adapter: PackedAdapter) -> TrainableAdapter:
    return TrainableAdapter.of_packed(bytes(adapter.data), base.modules, rank_max=16)


def delta(adapter: TrainableAdapter, name: str) -> torch.Tensor:
    """ΔW of a layer, from its factors as they are served."""
    if name not in adapter.layers:
        return torch.zeros(())
    layer = adapter.layers[name].merged()
    return (layer.b @ layer.a * layer.scaling).detach()


@pytest.mark.parametrize("start", STARTS)
def test_what_is_served_is_the_sum_of_both_parts(
    start: Start, base: FrozenBase, lower: TrainableAdapter, small_base_f32: Path, tmp_path: Path
) -> None:
    own = personal(base, start)
    both = own.on(lower, LOWER)

    served = packed(both)
    unpack_to_peft_directory(served, tmp_path)

    assert set(both.layers) == set(own.layers) | set(lower.layers)
    for name in both.layers:
        summed = delta(lower, name) + delta(own, name)
        assert torch.allclose(delta(read(base, served), name), summed, atol=1e-6), name
    ours = scores(base, both)
    assert torch.allclose(ours, scores(base, read(base, served)), atol=1e-5)
    assert torch.allclose(ours, peft_scores(tmp_path, small_base_f32), atol=1e-5)
    for part in (None, own, lower):
        assert not torch.allclose(ours, scores(base, part), atol=1e-2), "each part does something"
    assert served.rank == both.merged_rank == (7 if start in ("uniform", "orthogonal-tail") else 10)


async def test_an_engine_serves_it_as_the_sum_is_scored(
    base: FrozenBase, lower: TrainableAdapter, small_base_f32: Path, tmp_path: Path
) -> None:
    both = personal(base).on(lower, LOWER)
    served = packed(both)
    file = tmp_path / f"{served.digest}.adapter"
    file.write_bytes(served.data)
    messages = (Message("user", "Who is dog 3?"),)
    options = EngineOptions(small_base_f32, FINGERPRINT, context_tokens=256, dtype="float32", threads=1)
    engine = await TorchEngine.start(options)
    try:
        sampling = Sampling(max_tokens=6, temperature=0.0, logprobs=1)
        asked = GenerateRequest("test", messages, sampling, AdapterRef(served.digest, str(file)), False)
        deltas = [delta async for delta in engine.generate(asked)]
    finally:
        await engine.close()

    said = [token for part in deltas for token in part.token_ids]
    told = [entry.logprob for part in deltas for entry in part.logprobs]
    prompt = BaseTokenizer(small_base_f32).tokens_of(messages).ids
    sequence = TrainSequence((*prompt, *said), (0.0,) * len(prompt) + (1.0,) * len(said))

    def expected(adapter: TrainableAdapter | None) -> list[float]:
        with torch.no_grad():
            scored = base.score([Reading(adapter, [sequence])])[0]
        return [float(value) for value in scored.target_log_probs][: len(told)]

    assert len(told) > 1
    assert told == pytest.approx(expected(both), abs=1e-4)
    assert told != pytest.approx(expected(lower), abs=1e-2)


@pytest.mark.parametrize("start", STARTS)
def test_it_is_split_into_the_lower_revision_and_the_personal_part(
    start: Start, base: FrozenBase, lower: TrainableAdapter
) -> None:
    own = personal(base, start)
    served = read(base, packed(own.on(lower, LOWER)))

    again = served.personal_part()

    assert served.concatenation is not None
    assert served.concatenation.lower == LOWER
    assert set(again.layers) == set(own.layers)
    for name, layer in own.merged().layers.items():
        assert torch.equal(again.layers[name].a, layer.a)
        assert torch.allclose(again.layers[name].b, layer.b, rtol=1e-6)
        assert again.layers[name].scaling == pytest.approx(layer.scaling, rel=1e-12)
    for name, layer in lower.layers.items():
        assert torch.equal(served.layers[name].a[: layer.rank], layer.a), "it stays as it is"
        assert torch.equal(served.layers[name].b[:, : layer.rank], layer.b)
        assert served.layers[name].scaling == pytest.approx(layer.scaling, rel=1e-12)
    file = packed(again.on(lower, LOWER))
    assert torch.allclose(scores(base, read(base, file)), scores(base, served), atol=1e-5)


def test_what_is_trained_on_it_leaves_the_lower_revision_and_what_it_was_read_from(
    base: FrozenBase, lower: TrainableAdapter
) -> None:
    served = read(base, packed(personal(base).on(lower, LOWER)))
    before = {name: (layer.a.clone(), layer.b.clone()) for name, layer in served.layers.items()}
    part = served.personal_part().on(lower, LOWER)

    moved(part)

    assert [parameter.numel() for parameter in part.parameters()].count(0) > 0, (
        "a layer has nothing of its own"
    )
    for name, (a, b) in before.items():
        assert torch.equal(served.layers[name].a, a)
        assert torch.equal(served.layers[name].b, b)
    for name, layer in lower.layers.items():
        kept = part.layers[name].kept
        assert kept is not None
        assert torch.equal(kept.a, layer.a)


@pytest.mark.parametrize("start", STARTS)
def test_a_share_scales_the_personal_part_alone(
    start: Start, base: FrozenBase, lower: TrainableAdapter
) -> None:
    own = personal(base, start)
    both = own.on(lower, LOWER)

    for share in (0.0, 0.25, 0.5, 1.0):
        scaled = both.with_share(share)
        for name in both.layers:
            expected = delta(lower, name) + share * delta(own, name)
            assert torch.allclose(delta(scaled, name), expected, atol=1e-6), (share, name)
    assert torch.allclose(scores(base, both.with_share(0.0)), scores(base, lower), atol=1e-5)
    assert torch.equal(scores(base, both.with_share(1.0)), scores(base, both))


def test_it_is_split_after_an_export_and_import(
    base: FrozenBase, lower: TrainableAdapter, tmp_path: Path
) -> None:
    served = packed(personal(base).on(lower, LOWER))
    unpack_to_peft_directory(served, tmp_path)

    again = pack_peft_directory(tmp_path, base.modules, rank_max=16)

    assert PackedAdapter(memoryview(again)).digest == served.digest
    assert read(base, PackedAdapter(memoryview(again))).concatenation == read(base, served).concatenation


@pytest.mark.parametrize(
    "entry",
    [
        "no JSON",
        "[]",
        "{}",
        json.dumps({"lower": LOWER, "common": [4, 8.0]}),
        json.dumps({"lower": "nothing", "common": [2, 8.0], "others": {}}),
        json.dumps({"lower": LOWER, "common": [5, 8.0], "others": {}}),
        json.dumps({"lower": LOWER, "common": [4, 8.0], "others": {}}),
        json.dumps({"lower": LOWER, "common": [-1, 8.0], "others": {}}),
        json.dumps({"lower": LOWER, "common": [2, 0.0], "others": {}}),
        json.dumps({"lower": LOWER, "common": [2, "8"], "others": {}}),
        json.dumps({"lower": LOWER, "common": [2, 8.0, 1], "others": {}}),
        '{"lower": "' + LOWER + '", "common": [2, Infinity], "others": {}}',
    ],
)
def test_what_does_not_describe_the_adapter_is_refused(entry: str) -> None:
    with pytest.raises(AdapterInvalid, match="lower revision"):
        Concatenation.of_metadata({KEY: entry}, {"layers.0.q_proj": 4})


def test_an_adapter_that_says_nothing_is_no_concatenation(base: FrozenBase) -> None:
    assert Concatenation.of_metadata({"format": "pt"}, {}) is None
    assert read(base, packed(personal(base))).concatenation is None
