"""What is told of a long training is little, and true at its end."""

from itertools import pairwise

import pytest

from populace.trainer.runs import thinned


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 11, 25, 1000])
def test_a_curve_is_thinned_evenly_and_keeps_its_ends(length: int) -> None:
    curve = [(step, 1.0 / (1 + step)) for step in range(length)]

    kept = thinned(curve, 10)

    assert len(kept) <= 10
    assert kept == sorted(set(kept) & set(curve))
    assert not curve or (kept[0], kept[-1]) == (curve[0], curve[-1])
    strides = {later - earlier for (earlier, _), (later, _) in pairwise(kept[:-1])}
    assert len(strides) <= 1
