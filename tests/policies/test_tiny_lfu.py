"""The sketch never counts too low, forgets by halves, and the window follows the traffic."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.residency import Residency
from populace.policies.tiny_lfu import (
    COUNT_MAX,
    WINDOW_SHARE_MAX,
    WINDOW_SHARE_MIN,
    FrequencySketch,
    TinyLfu,
)


@given(st.lists(st.text(max_size=9), max_size=200))
def test_a_sketch_counts_never_too_low_up_to_its_most(keys: list[str]) -> None:
    sketch = FrequencySketch(64)
    for key in keys:
        sketch.add(key)

    assert all(sketch.count(key) >= min(count, COUNT_MAX) for key, count in Counter(keys).items())


@given(st.dictionaries(st.text(max_size=9), st.integers(1, 15), max_size=20))
def test_a_sketch_with_room_counts_nearly_always_right(counts: dict[str, int]) -> None:
    sketch = FrequencySketch(4096)
    for key, count in counts.items():
        for _ in range(count):
            sketch.add(key)

    assert sum(sketch.count(key) != count for key, count in counts.items()) <= 1


def test_halving_forgets_half_of_each_count() -> None:
    sketch = FrequencySketch(1024)
    for key, count in (("a", 9), ("b", 1), ("c", 4)):
        for _ in range(count):
            sketch.add(key)

    sketch.halve()

    assert [sketch.count(key) for key in "abc"] == [4, 0, 2]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=3000))
def test_the_window_stays_between_its_bounds_however_the_traffic_changes(uses: list[int]) -> None:
    order = TinyLfu(1000, entries=64)
    tier = Residency(1000, order)
    for key in map(str, uses):
        if not tier.use(key):
            tier.admit(key, 50, 0.0)
        assert WINDOW_SHARE_MIN * 1000 <= order.window_bytes_max <= WINDOW_SHARE_MAX * 1000
    tier.check_integrity()


def test_a_window_that_does_not_adapt_stays_as_it_is() -> None:
    order = TinyLfu(1000, adaptive=False)
    tier, first = Residency(1000, order), order.window_bytes_max
    for key in range(3000):
        tier.admit(str(key), 10, 0.0)

    assert order.window_bytes_max == first
