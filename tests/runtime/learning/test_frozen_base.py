# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' functions are partly untyped.
"""Many people's sequences in one pass score as each does alone in a model of transformers."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM

from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.memory.attention import attention_layers
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.objective import TrainSequence
from populace.learning.packed_row import Reading

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64


@pytest.fixture(scope="module")
def base(small_base_f32: Path) -> FrozenBase:
    return FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32)


def adapter_of(base: FrozenBase, rank: int, seed: int) -> TrainableAdapter:
    shape = LoraShape(rank=rank, targets=("q_proj", "down_proj") if rank == 2 else LoraShape().targets)
    adapter = TrainableAdapter.begin(base.model, base.modules, shape, "uniform", seed=seed)
    with torch.no_grad():
        for layer in adapter.layers.values():
            layer.b.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))
    return adapter


def sequence(length: int, seed: int, scored_from: int = 1) -> TrainSequence:
    ids = torch.randint(3, 40_000, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return scored(tuple(ids), scored_from)


def scored(ids: tuple[int, ...], begin: int) -> TrainSequence:
    return TrainSequence(ids, (0.0,) * begin + (1.0,) * (len(ids) - begin))


def test_the_base_scores_as_transformers_does(base: FrozenBase, small_base_f32: Path) -> None:
    model = cast("Any", AutoModelForCausalLM.from_pretrained(small_base_f32, dtype=torch.float32)).eval()
    sequences = [sequence(9, 1), sequence(30, 2, scored_from=20), sequence(2, 3)]

    with torch.no_grad():
        found = base.score([Reading(None, sequences)])[0]
        alone = [
            model(input_ids=torch.tensor([one.ids])).logits[0].log_softmax(-1)[one.scored[0] - 1 : -1]
            for one in sequences
        ]

    assert found.counts == (8, 10, 1)
    assert torch.allclose(found.log_probs, torch.cat(alone), atol=1e-5)
    assert found.targets.tolist() == [id_ for one in sequences for id_ in one.ids[one.scored[0] :]]


def test_people_in_one_pass_score_as_alone(base: FrozenBase) -> None:
    readings = [
        Reading(adapter_of(base, 8, 1), [sequence(12, 1), sequence(5, 2)]),
        Reading(None, [sequence(7, 3)]),
        Reading(adapter_of(base, 2, 4), [sequence(20, 5)]),
        Reading(adapter_of(base, 1, 6), [sequence(3, 7), sequence(3, 8), sequence(11, 9)]),
    ]

    with torch.no_grad():
        together = base.score(readings)
        alone = [base.score([one])[0] for one in readings]

    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one.log_probs, other.log_probs, atol=1e-5)
        assert torch.equal(one.targets, other.targets)
        assert one.counts == other.counts


def test_sequences_that_begin_alike_score_and_learn_as_each_alone(base: FrozenBase) -> None:
    begin, reply = sequence(10, 1).ids, sequence(6, 2).ids
    alike = [
        scored(begin + reply, 10),
        scored(begin + sequence(9, 3).ids, 10),
        scored(begin + reply, 8),
        scored(begin[:4], 1),
        scored(sequence(5, 4).ids, 2),
    ]
    adapter, other = adapter_of(base, 8, 1), adapter_of(base, 2, 4)
    base.record_inputs([attention_layers(base.modules)[1].name])
    # Their squares add up to nearly the same whatever the adapter does, as they are normed: rounding alone
    # would decide such a gradient.
    weights_H = torch.randn(base.model.config.hidden_size, generator=torch.Generator().manual_seed(5))

    def gradients() -> list[torch.Tensor]:
        found = [one.grad for one in adapter.parameters() if one.grad is not None]
        for parameter in adapter.parameters():
            parameter.grad = None
        return found

    together, of_other = base.score([Reading(adapter, alike), Reading(other, alike[:2])])
    (together.target_log_probs.sum() + (together.hidden[0] @ weights_H).sum()).backward()
    at_once = gradients()
    alone = [base.score([Reading(adapter, [one])])[0] for one in alike]
    torch.stack(
        [one.target_log_probs.sum() + (one.hidden[0] @ weights_H).sum() for one in alone]
    ).sum().backward()
    one_by_one = gradients()
    others = [base.score([Reading(other, [one])])[0] for one in alike[:2]]
    base.record_inputs([])

    assert torch.allclose(together.log_probs, torch.cat([one.log_probs for one in alone]), atol=1e-5)
    assert torch.allclose(together.hidden[0], torch.cat([one.hidden[0] for one in alone]), atol=1e-5)
    assert torch.allclose(of_other.log_probs, torch.cat([one.log_probs for one in others]), atol=1e-5)
    assert together.targets.tolist() == [one.ids[at] for one in alike for at in one.scored]
    assert len(at_once) == len(one_by_one) == len(list(adapter.parameters()))
    for one, another in zip(at_once, one_by_one, strict=True):
        assert torch.allclose(one, another, rtol=1e-3, atol=1e-5 * float(another.abs().max() + 1))


def test_a_pass_without_adapters_is_the_bases_after_one_with_them(base: FrozenBase) -> None:
    reading = Reading(None, [sequence(6, 1)])
    with torch.no_grad():
        before = base.score([reading])[0].log_probs
        base.score([Reading(adapter_of(base, 8, 1), [sequence(6, 1)])])

        assert torch.equal(base.score([reading])[0].log_probs, before)
