from hypothesis import given
from hypothesis import strategies as st

from populace.policies.hold_out import EVERY, count_with_held_out, held_out_lines, is_held_out


def test_one_of_every_block_of_positions_is_held_out() -> None:
    for block in range(200):
        assert sum(is_held_out(position) for position in range(block * EVERY, (block + 1) * EVERY)) == 1


def test_every_place_in_a_block_is_held_out_as_often_as_another() -> None:
    places = [position % EVERY for position in range(8_000) if is_held_out(position)]

    assert min(places.count(place) for place in range(EVERY)) > 0.75 * 1_000 / EVERY


def test_what_is_held_out_never_changes() -> None:
    assert [position for position in range(48) if is_held_out(position)] == FIRST


FIRST = [0, 15, 17, 30, 33, 44]
"""Held out in the first release; another answer would train on what it is judged by."""


def test_the_least_count_of_which_some_are_held_out_and_one_is_not() -> None:
    assert [count_with_held_out(least) for least in range(4)] == [2, 2, 16, 18]


@given(count=st.integers(0, 300), least=st.integers(0, 4))
def test_lines_of_a_file_that_judge_are_enough_and_never_all(count: int, least: int) -> None:
    judging = held_out_lines(count, least)

    assert judging <= set(range(1, count + 1))
    assert len(judging) >= min(count, least)
    if sum(map(is_held_out, range(1, count + 1))) >= least:
        assert judging == {line for line in range(1, count + 1) if is_held_out(line)}
    else:
        assert len(judging) == min(count, least)
