"""Intervals hold what they should, and the same numbers give the same ones."""

import pytest

from scripts.bench.intervals import bootstrap, mean_of, ratio_of, share_of, wilson


def test_wilson_is_the_published_interval() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_a_share_lies_in_its_interval() -> None:
    share = share_of([True, True, True, False])

    assert share.value == 0.75
    assert 0 < share.low < 0.75 < share.high < 1
    assert share.times(100).value == 75


def test_a_mean_is_as_uncertain_as_its_standard_error() -> None:
    values = [float(number % 10) for number in range(400)]

    mean = mean_of(values)

    error = 1.96 * (8.25 / 400) ** 0.5
    assert mean.value == 4.5
    assert (mean.low, mean.high) == pytest.approx((4.5 - error, 4.5 + error), abs=0.05)
    assert mean == mean_of(values)


def test_one_unit_has_no_spread() -> None:
    assert bootstrap([3], lambda drawn: sum(drawn) / len(drawn)) == (3.0, 3.0, 3.0)


def test_a_ratio_is_of_the_sums_and_its_pairs_stay_together() -> None:
    assert ratio_of([(9.0, 10.0), (90.0, 100.0)]) == (0.9, 0.9, 0.9)
    assert ratio_of([(1.0, 0.0)]) == (0.0, 0.0, 0.0)


def test_a_share_is_said_in_percent_with_its_interval() -> None:
    assert share_of([True, True, False, False]).percent == "50 % [15, 85]"
