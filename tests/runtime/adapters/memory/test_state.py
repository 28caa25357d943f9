"""A memory state as bytes: it comes back the same, and nothing that cannot be one gets in."""

import numpy as np
import pytest

from populace.actors.errors import MemoryStateInvalid, MemoryStateMismatch
from populace.adapters.memory.state import VALUE_MAX, StateFormat

FORMAT = StateFormat("ab" * 32, layers=3, states=2, rank=4)


def some_state() -> np.ndarray:
    return np.random.default_rng(1).normal(size=FORMAT.shape).astype(np.float32)


def test_a_state_comes_back_to_the_bit() -> None:
    state = some_state()
    packed = FORMAT.pack(state)

    assert len(packed) == FORMAT.packed_bytes
    assert StateFormat.of(packed) == FORMAT
    assert np.array_equal(FORMAT.unpack(packed), state)


def test_the_state_of_a_person_is_as_small_as_promised() -> None:
    assert StateFormat("ab" * 32, layers=30, states=1, rank=8).packed_bytes < 7800


def test_a_state_of_another_module_is_refused() -> None:
    packed = FORMAT.pack(some_state())

    with pytest.raises(MemoryStateMismatch, match="abababababab"):
        FORMAT._replace(module="cd" * 32).unpack(packed)


@pytest.mark.parametrize("other", [{"layers": 2}, {"states": 1, "layers": 6}, {"rank": 8, "layers": 1}])
def test_a_state_of_another_layer_count_or_rank_is_refused_as_damaged(other: dict[str, int]) -> None:
    packed = FORMAT.pack(some_state())

    with pytest.raises(MemoryStateInvalid, match=r"the shape \(3, 2, 4, 4\) and should have") as refused:
        FORMAT._replace(**other).unpack(packed)
    assert not isinstance(refused.value, MemoryStateMismatch)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2 * VALUE_MAX, -2 * VALUE_MAX])
def test_a_value_that_could_poison_the_engine_neither_comes_in_nor_goes_out(value: float) -> None:
    """By way of a key-value block that is used again, it would reach another person's request."""
    state = some_state()
    packed = bytearray(FORMAT.pack(state))
    packed[-4:] = np.float32(value).tobytes()
    state[0, 0, 0, 0] = value

    with pytest.raises(MemoryStateInvalid):
        FORMAT.unpack(bytes(packed))
    with pytest.raises(MemoryStateInvalid):
        FORMAT.pack(state)


@pytest.mark.parametrize("length", [0, 7, 47, 100])
def test_a_truncated_state_is_refused(length: int) -> None:
    packed = FORMAT.pack(some_state())[:length]

    with pytest.raises(MemoryStateInvalid):
        FORMAT.unpack(packed)


def test_something_longer_than_a_state_is_refused() -> None:
    with pytest.raises(MemoryStateInvalid, match="bytes"):
        FORMAT.unpack(FORMAT.pack(some_state()) + b"\0")
