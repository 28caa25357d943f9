"""What fits is read off lists of known recall, and the lists are what they are said to be."""

import itertools
import math

import pytest
from capacity.findings import RECALLED, Measured, fits_of, knee_of, shares_by_load
from capacity.items import questions_of

PARAMETERS = 100_000


def measured(load: float, share: float, *, seed: int = 0, rank: int = 1, kind: str = "mlp") -> Measured:
    parameters = PARAMETERS * rank
    tokens = round(load * parameters)
    by_way = {"position": 1, "neighbour": 1}
    recalled = round(share * tokens)
    return Measured(kind, rank, seed, load, parameters, 4, tokens, recalled, by_way, 10, 2.0, 100, 1.0)


def test_the_knee_is_where_the_line_between_two_lists_crosses_the_share() -> None:
    lists = [measured(0.004, 0.90), measured(0.001, 1.0), measured(0.002, 1.0), measured(0.008, 0.2)]

    knee = knee_of(lists)

    assert knee.bound == ""
    half = (1.0 - RECALLED) / (1.0 - 0.90)
    assert knee.load == pytest.approx(math.exp(math.log(0.002) + half * math.log(2)))


def test_a_knee_outside_of_the_lists_is_a_bound() -> None:
    assert knee_of([measured(0.001, 1.0), measured(0.002, RECALLED)]) == (0.002, "above")
    assert knee_of([measured(0.001, 0.5), measured(0.002, 0.25)]) == (0.001, "below")


def test_what_fits_is_of_the_longest_list_that_is_recalled_by_shape_and_the_knee_by_kind_too() -> None:
    recall = {0.001: 1.0, 0.002: 0.99, 0.004: 0.75, 0.008: 0.3}
    lists = [
        measured(load, share, seed=seed, rank=rank)
        for rank in (1, 4)
        for seed in (0, 1)
        for load, share in recall.items()
    ]

    one, four, both = fits_of(lists)

    assert (one.name, four.name, both.name) == ("mlp, rank 1", "mlp, rank 4", "mlp")
    assert (one.parameters, one.fits, one.plateau) == (PARAMETERS, 200.0, 300.0)
    assert (four.parameters, four.fits, four.plateau) == (4 * PARAMETERS, 800.0, 1200.0)
    assert (both.parameters, both.fits, both.plateau) == (None, None, None)
    assert one.knee.low == pytest.approx(one.knee.high), "both seeds are alike"
    assert both.knee.value == pytest.approx(one.knee.value)
    assert 0.002 < both.knee.value < 0.004


def test_a_shape_of_which_nothing_fits_says_so() -> None:
    [shape, _] = fits_of([measured(0.001, 0.5, seed=0), measured(0.001, 1.0, seed=1)])

    assert shape.fits == 50.0
    assert shape.bound == "above and below"


def test_shares_are_means_over_seeds_by_load() -> None:
    lists = [measured(0.002, 0.5), measured(0.001, 1.0), measured(0.002, 1.0, seed=1)]

    assert shares_by_load(lists) == {"mlp, rank 1": {0.001: 1.0, 0.002: 0.75}}


def test_a_longer_list_begins_with_the_shorter_one_and_no_item_or_question_comes_twice() -> None:
    few, many = (list(itertools.islice(questions_of(3), count)) for count in (10, 1000))

    assert many[:10] == few
    assert few != list(itertools.islice(questions_of(4), 10))
    words = [word for question in many for word in question.item.split()]
    assert len(set(words)) == len(words)
    assert len({question.ask for question in many}) == len(many)
    assert [question.way for question in few[:2]] == ["position", "neighbour"]
    assert few[0].item.split()[-1] in few[1].ask
