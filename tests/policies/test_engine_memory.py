"""What does not fit is refused with what is missing, and each remedy that is named is one."""

from hypothesis import assume, given
from hypothesis import strategies as st

from populace.policies.engine_memory import (
    GIB,
    BaseSizes,
    EngineSizes,
    HostSizes,
    card_remedies,
    host_remedies,
    needed_on_card,
    needed_on_host,
)

# Qwen3-8B in bfloat16, by its configuration and the sizes of its files.
EIGHT = BaseSizes(
    weights_bytes=16_381_470_720,
    linear_weights=6_945_767_424,
    layers=36,
    hidden=4096,
    intermediate=12288,
    heads=32,
    kv_heads=8,
    head_dim=128,
    vocabulary=151_936,
)

BASES = st.builds(
    BaseSizes,
    weights_bytes=st.integers(10**8, 10**11),
    linear_weights=st.integers(0, 5 * 10**7),
    layers=st.integers(1, 96),
    hidden=st.sampled_from([64, 576, 4096, 8192]),
    intermediate=st.sampled_from([96, 1536, 12288]),
    heads=st.sampled_from([2, 8, 32, 64]),
    kv_heads=st.sampled_from([1, 2, 8]),
    head_dim=st.sampled_from([32, 64, 128]),
    vocabulary=st.integers(64, 300_000),
    has_experts=st.booleans(),
    value_bytes=st.sampled_from([2, 4]),
)
ENGINES = st.builds(
    EngineSizes,
    sequences=st.integers(1, 512),
    slots=st.integers(1, 64),
    rank=st.integers(1, 128),
    context_tokens=st.integers(16, 131_072),
    batched_tokens=st.none() | st.integers(1, 32_768),
    cards=st.sampled_from([1, 2]),
    state_bytes=st.sampled_from([0, 4 * 30 * 64 * 64]),
)
CARD = st.integers(4 * GIB, 200 * GIB)
SHARE = st.sampled_from([0.5, 0.65, 0.92])


def applied(engine: EngineSizes, setting: str, value: str) -> EngineSizes:
    """The engine as it is started with this value of the setting."""
    if setting == "QUANTIZATION":
        return engine._replace(quantized=value == "fp8")
    field = {
        "ADAPTER_SLOTS": "slots",
        "CONTEXT_TOKENS": "context_tokens",
        "SEQUENCES_MAX": "sequences",
        "BATCHED_TOKENS_MAX": "batched_tokens",
        "TENSOR_PARALLEL": "cards",
    }[setting]
    return engine._replace(**{field: int(value)})


@given(BASES, ENGINES, CARD, SHARE)
def test_each_remedy_alone_makes_it_fit(
    base: BaseSizes, engine: EngineSizes, card: int, share: float
) -> None:
    for setting, value in card_remedies(base, engine, card, share, cards_max=8, may_quantize=True):
        if setting == "GPU_MEMORY_SHARE":
            assert needed_on_card(base, engine).total <= card * float(value)
        else:
            assert needed_on_card(base, applied(engine, setting, value)).total <= card * share


@given(BASES, ENGINES, CARD, SHARE)
def test_a_remedy_changes_no_more_than_it_has_to(
    base: BaseSizes, engine: EngineSizes, card: int, share: float
) -> None:
    assume(needed_on_card(base, engine).total > card * share)

    for setting, value in card_remedies(base, engine, card, share):
        if setting == "GPU_MEMORY_SHARE":
            continue
        before = applied(engine, setting, str(2 * int(value) + 1))
        assert needed_on_card(base, before).total > card * share


@given(BASES, ENGINES, st.sampled_from(["sequences", "slots", "context_tokens"]), st.integers(1, 1000))
def test_more_of_anything_needs_no_less(base: BaseSizes, engine: EngineSizes, what: str, more: int) -> None:
    larger = engine._replace(**{what: getattr(engine, what) + more})

    assert needed_on_card(base, larger).total >= needed_on_card(base, engine).total
    assert needed_on_card(base, engine._replace(quantized=True)).total <= needed_on_card(base, engine).total


@given(BASES, st.integers(1, 8), st.integers(1, 16), st.booleans(), st.integers(GIB, 500 * GIB))
def test_each_remedy_of_a_machine_makes_it_fit(
    base: BaseSizes, replicas: int, cache_gib: int, trains: bool, room: int
) -> None:
    host = HostSizes(replicas, cache_gib, 2**29, trains, places=20)

    for setting, value in host_remedies(base, host, room):
        field = {"REPLICAS": "replicas", "KV_CACHE_GIB": "cache_gib", "TRAINING": "trains"}[setting]
        changed = host._replace(**{field: False if value == "off" else int(value)})
        assert needed_on_host(base, changed).total <= room


def test_a_base_of_eight_billion_fits_on_a_large_card_and_not_on_a_small_one() -> None:
    engine = EngineSizes(sequences=64, slots=16, rank=16, context_tokens=8192)
    needed = needed_on_card(EIGHT, engine)

    assert needed.weights == EIGHT.weights_bytes
    assert needed.cache == 8192 * 147_456
    # One adapter of rank 16 has 43.6 million numbers.
    assert needed.adapters == 32 * 2 * 43_646_976
    assert needed.total <= 24 * GIB * 0.92
    assert card_remedies(EIGHT, engine, 16 * GIB, 0.92) == []
    assert ("QUANTIZATION", "fp8") in card_remedies(EIGHT, engine, 16 * GIB, 0.92, may_quantize=True)
    assert ("TENSOR_PARALLEL", "2") in card_remedies(EIGHT, engine, 16 * GIB, 0.92, cards_max=2)
