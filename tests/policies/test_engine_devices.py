"""Settings of engines that cannot work are refused by name, and defaults follow the card."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.engine_devices import (
    GIB,
    PROCESSOR,
    SMALL_CARD,
    Asked,
    BaseShape,
    Card,
    memory_share,
    profile_of,
    refusal_of,
)

BASE = BaseShape(heads=32, kv_heads=8)
H100 = Card(80 * GIB, (9, 0))
T4 = Card(15 * GIB, (7, 5))
ON_GPU = Asked("vllm", on_gpu=True)

ASKED = st.builds(
    Asked,
    engine=st.sampled_from(["vllm", "torch"]),
    on_gpu=st.booleans(),
    tensor_parallel=st.integers(1, 16),
    memory_share=st.none() | st.floats(0.05, 0.95),
    dtype=st.sampled_from(["auto", "bfloat16", "float16", "float32"]),
    quantization=st.sampled_from(["none", "fp8"]),
    batched_tokens=st.none() | st.integers(1, 10_000),
    places=st.integers(2, 512),
    trainer_share=st.sampled_from([0.0, 0.25, 0.5]),
    trains=st.booleans(),
)
BASES = st.builds(
    BaseShape,
    heads=st.integers(1, 128),
    kv_heads=st.integers(1, 32),
    quantized=st.sampled_from([None, "awq"]),
    without_float16=st.booleans(),
    has_experts=st.booleans(),
)


@given(st.none() | st.integers(0, 200 * GIB), st.integers(0, 200 * GIB))
def test_a_larger_card_never_has_smaller_defaults(card: int | None, more: int) -> None:
    smaller, larger = profile_of(card), profile_of((card or 0) + more)

    assert all(less <= much for less, much in zip(smaller, larger, strict=True))


def test_the_defaults_of_a_processor_are_its_own() -> None:
    assert profile_of(None) == profile_of(8 * GIB) == SMALL_CARD
    assert PROCESSOR.context_tokens == SMALL_CARD.context_tokens == 2048
    assert profile_of(80 * GIB).sequences == 256


@given(ASKED, BASES, st.none() | st.integers(1, 8), st.sampled_from([None, H100, T4]))
def test_what_is_not_refused_can_work(
    asked: Asked, base: BaseShape, cards: int | None, card: Card | None
) -> None:
    refusal = refusal_of(asked, base, cards, card)

    if refusal is not None:
        assert refusal.reason
        return
    if asked.on_gpu and asked.engine == "vllm":
        assert base.heads % asked.tensor_parallel == 0
        assert cards is None or asked.tensor_parallel <= cards
        assert memory_share(asked) + asked.trainer_share <= 1
        assert asked.quantization == "none" or base.quantized is None
    else:
        assert (asked.tensor_parallel, asked.memory_share, asked.quantization) == (1, None, "none")
        assert asked.engine == "torch" or not base.has_experts
    assert asked.batched_tokens is None or asked.batched_tokens >= asked.places
    assert base.quantized is None or not asked.trains


@pytest.mark.parametrize(
    ("asked", "base", "setting", "reason"),
    [
        ({"tensor_parallel": 2}, {"heads": 33}, "TENSOR_PARALLEL", "33 attention heads"),
        ({"tensor_parallel": 4}, {}, "TENSOR_PARALLEL", "more than 2 GPUs"),
        ({"tensor_parallel": 2}, {"kv_heads": 3}, "TENSOR_PARALLEL", "3 heads of keys"),
        ({"memory_share": 0.9, "trainer_share": 0.25}, {}, "GPU_MEMORY_SHARE", "0.25 of the same GPU"),
        ({"dtype": "bfloat16"}, {}, "ENGINE_DTYPE", "capability 7.5; use float16"),
        ({"dtype": "float16"}, {"without_float16": True}, "ENGINE_DTYPE", "overflows"),
        ({"quantization": "fp8"}, {}, "QUANTIZATION", "capability 7.5; use none"),
        ({"quantization": "fp8"}, {"quantized": "awq"}, "QUANTIZATION", "quantised already"),
        ({"batched_tokens": 10}, {}, "BATCHED_TOKENS_MAX", "each of 16 replies"),
        ({"trains": True}, {"quantized": "awq"}, "TRAINING", "use off"),
        ({"on_gpu": False, "tensor_parallel": 2}, {}, "TENSOR_PARALLEL", "it needs GPUs"),
        ({"on_gpu": False, "memory_share": 0.5}, {}, "GPU_MEMORY_SHARE", "no machine for engines has one"),
        ({"on_gpu": False, "dtype": "float16"}, {}, "ENGINE_DTYPE", "use bfloat16"),
        ({"engine": "torch", "on_gpu": False, "batched_tokens": 64}, {}, "BATCHED_TOKENS_MAX", "use vLLM"),
        ({"engine": "torch", "on_gpu": False}, {"quantized": "awq"}, "ENGINE", "for vLLM alone"),
        ({"on_gpu": False}, {"has_experts": True}, "ENGINE", "use torch"),
    ],
)
def test_each_setting_is_refused_by_name_where_it_cannot_work(
    asked: dict[str, Any], base: dict[str, Any], setting: str, reason: str
) -> None:
    refusal = refusal_of(ON_GPU._replace(**asked), BASE._replace(**base), 2, T4)

    assert refusal is not None
    assert refusal.setting == setting
    assert reason in refusal.reason


def test_the_share_of_a_card_leaves_the_trainer_its_own() -> None:
    assert memory_share(ON_GPU) == 0.92
    assert memory_share(ON_GPU._replace(trainer_share=0.25)) == 0.65
    assert memory_share(ON_GPU._replace(memory_share=0.5, trainer_share=0.25)) == 0.5
