"""As much of the newest history as fits, and never a turn without the ones after it."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.history import CHARACTERS_PER_TOKEN, turns_that_fit, with_history, with_their_calls

lengths = st.lists(st.integers(0, 500), max_size=30)
tokens = st.integers(0, 500)


def test_the_newest_turns_are_kept() -> None:
    assert turns_that_fit([300, 3000, 150, 150], tokens_max=100) == 2


def test_a_turn_that_does_not_fit_ends_the_history() -> None:
    assert turns_that_fit([1, 301], tokens_max=100) == 0


@given(lengths, tokens)
def test_what_is_kept_fits_and_one_more_would_not(lengths: list[int], tokens_max: int) -> None:
    kept = turns_that_fit(lengths, tokens_max)

    budget = tokens_max * CHARACTERS_PER_TOKEN
    assert sum(lengths[len(lengths) - kept :]) <= budget
    assert kept == len(lengths) or sum(lengths[len(lengths) - kept - 1 :]) > budget


def test_earlier_turns_come_after_the_instructions_of_a_turn() -> None:
    assert with_history([["a", "b"], ["c"]], ["be brief", "d"], 1) == ["be brief", "a", "b", "c", "d"]
    assert with_history([], ["d"], 0) == ["d"]


def test_a_turn_goes_with_the_one_whose_calls_its_results_answer() -> None:
    assert with_their_calls(1, [False, True, False]) == 0
    assert with_their_calls(0, [False, False, True, True]) == 2


@given(st.integers(0, 9), st.lists(st.booleans(), min_size=1, max_size=9))
def test_a_prompt_begins_with_no_result_if_it_can(count: int, continues: list[bool]) -> None:
    kept = with_their_calls(count, continues)

    def is_whole(turns: int) -> bool:
        return not continues[len(continues) - 1 - turns]

    possible = [turns for turns in range(len(continues)) if is_whole(turns)]
    assert is_whole(kept) or not possible
    assert kept == max((turns for turns in possible if turns <= count), default=min(possible, default=kept))
