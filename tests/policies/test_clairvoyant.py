"""Nobody has more hits than who knows the future, and nobody more than the bound."""

from functools import cache
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.clairvoyant import clairvoyant, hits_bound
from populace.policies.residency import Residency
from populace.policies.residency_trace import Access, play
from populace.policies.segmented_lru import Lru, SegmentedLru

keys = st.lists(st.integers(0, 5), min_size=1, max_size=14)


def trace_of(keys: list[int], sizes: dict[int, int] | None = None) -> list[Access]:
    return [Access(float(time), str(key), (sizes or {}).get(key, 1)) for time, key in enumerate(keys)]


def most_hits(trace: list[Access], bytes_max: int) -> int:
    """Try every choice of who leaves."""

    @cache
    def best(index: int, resident: frozenset[str]) -> int:
        if index == len(trace):
            return 0
        key, size = trace[index].key, trace[index].size
        if key in resident:
            return 1 + best(index + 1, resident)
        if size > bytes_max:
            return best(index + 1, resident)
        return max(
            best(index + 1, frozenset(kept) | {key})
            for count in range(len(resident) + 1)
            for kept in combinations(sorted(resident), count)
            if sum(sizes[one] for one in kept) + size <= bytes_max
        )

    sizes: dict[str, int] = {access.key: access.size for access in trace}
    nobody: frozenset[str] = frozenset()
    return best(0, nobody)


@given(keys, st.integers(1, 4))
def test_with_equal_sizes_the_clairvoyant_has_the_most_hits_of_all(keys: list[int], room: int) -> None:
    trace = trace_of(keys)

    assert clairvoyant(trace, room).hits == most_hits(trace, room)


@given(keys, st.dictionaries(st.integers(0, 5), st.integers(1, 4), max_size=6), st.integers(1, 8))
def test_with_mixed_sizes_no_choice_has_more_hits_than_the_bound(
    keys: list[int], sizes: dict[int, int], room: int
) -> None:
    trace = trace_of(keys, sizes)

    best = most_hits(trace, room)

    assert clairvoyant(trace, room).hits <= best <= hits_bound(trace, room)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.integers(1, 20))
def test_every_use_is_a_hit_or_a_load_and_policies_are_no_better_than_the_clairvoyant(
    keys: list[int], room: int
) -> None:
    trace = trace_of(keys)
    best = clairvoyant(trace, room)

    for order in (Lru(), SegmentedLru(room)):
        outcome = play(trace, Residency(room, order), session_seconds=3.0)
        assert outcome.hits + outcome.loads == outcome.accesses == len(keys)
        assert outcome.hits <= best.hits
        assert outcome.bytes == outcome.loads


def test_what_is_larger_than_the_tier_is_loaded_and_not_kept() -> None:
    trace = trace_of([0, 1, 0, 1], {0: 9, 1: 1})

    for outcome in (clairvoyant(trace, 5), play(trace, Residency(5, Lru()))):
        assert (outcome.hits, outcome.loads, outcome.evictions) == (1, 3, 0)
