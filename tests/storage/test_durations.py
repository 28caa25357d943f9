"""Durations are counted in the class that holds them, and counts of many processes add up."""

from hypothesis import given
from hypothesis import strategies as st

from populace.storage.records.durations import BOUNDS_S, DurationCounts, Durations, added_up

seconds = st.floats(min_value=0, max_value=1000, allow_nan=False)


def counts_of(*spent: float) -> DurationCounts:
    durations = Durations()
    for one in spent:
        durations.add(one)
    return durations.snapshot()


@given(seconds)
def test_a_duration_is_in_the_class_whose_bound_is_the_first_that_is_no_smaller(spent: float) -> None:
    [number] = [number for number, count in enumerate(counts_of(spent).counts) if count]

    assert number == len(BOUNDS_S) or spent <= BOUNDS_S[number]
    assert number == 0 or spent > BOUNDS_S[number - 1]


@given(st.lists(st.lists(seconds)))
def test_counts_add_up_to_those_of_all_durations(parts: list[list[float]]) -> None:
    together = added_up([counts_of(*part) for part in parts])

    assert together.counts == counts_of(*(one for part in parts for one in part)).counts
    assert together.total == sum(len(part) for part in parts)


def test_a_clock_that_was_set_back_takes_nothing_from_the_sum() -> None:
    assert counts_of(2.0, -5.0) == DurationCounts((1, *counts_of(2.0).counts[1:]), 2.0)


def test_a_snapshot_does_not_change_with_what_comes_after_it() -> None:
    durations = Durations()
    before = durations.snapshot()

    durations.add(1.0)

    assert before == DurationCounts()
    assert durations.snapshot().total == 1
