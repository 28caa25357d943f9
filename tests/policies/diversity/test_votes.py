"""Every vote has a winner or a reason: ties, abstentions, weights, and free text."""

import math

import pytest

from populace.policies.diversity.votes import (
    WEIGHT_MAX,
    log_odds_weights,
    minimum_bayes_risk,
    tally,
    word_overlap,
)


def test_the_most_votes_win_and_who_says_nothing_does_not_vote() -> None:
    found = tally(["B", "A", None, " A ", "  "])

    assert (found.answer, found.weights, found.is_tie) == ("A", {"A": 2.0, "B": 1.0}, False)
    assert (found.voters, found.abstained) == ((1, 3), (2, 4))


def test_a_tie_goes_to_the_answer_whose_first_voter_comes_first_and_is_said() -> None:
    found = tally(["B", "A", "A", "B"])

    assert (found.answer, found.is_tie) == ("B", True)


@pytest.mark.parametrize("answers", [[], [None, ""], [None]])
def test_when_all_abstain_there_is_no_answer(answers: list[str | None]) -> None:
    found = tally(answers)

    assert (found.answer, found.weights, found.voters) == (None, {}, ())
    assert found.abstained == tuple(range(len(answers)))


def test_weights_count_and_those_below_zero_do_not() -> None:
    assert tally(["A", "A", "B"], [1.0, 1.0, 3.0]).answer == "B"
    assert tally(["A", "B"], [-4.0, 0.5]).answer == "B"
    assert tally(["A", "B", "B"], [-4.0, -1.0, 0.0]).answer == "B", "if nobody counts, all count alike"


@pytest.mark.parametrize(
    ("accuracy", "choices", "weight"),
    [
        (0.25, 4, 0.0),
        (0.75, 2, math.log(3)),
        (0.5, 4, math.log(3)),
        (1.0, 4, WEIGHT_MAX),
        (0.0, 4, -WEIGHT_MAX),
    ],
)
def test_a_weight_is_the_log_odds_against_chance(accuracy: float, choices: int, weight: float) -> None:
    assert log_odds_weights([accuracy], choices) == [pytest.approx(weight)]


def test_one_choice_is_none() -> None:
    with pytest.raises(ValueError, match="1 choices"):
        log_odds_weights([0.5], 1)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("The cat sat.", "the cat", 0.8),
        ("a b", "c d", 0.0),
        ("", "", 1.0),
        ("a a b", "a b b", 2 / 3),
        ("!", "a", 0),
    ],
)
def test_overlap_is_of_words(one: str, other: str, overlap: float) -> None:
    assert word_overlap(one, other) == pytest.approx(overlap)


def test_the_text_that_is_most_like_the_others_is_chosen() -> None:
    texts = ["Paris is nice", None, "Paris is in France", "bananas", "Paris is in France today"]

    best, expected = minimum_bayes_risk(texts)

    assert best == 2
    assert expected[1] == 0
    assert expected[3] == 0
    weighed, _ = minimum_bayes_risk(["a b", "c d", "c e"], weights=[1, 0, 0])
    assert weighed == 0, "who has no weight is no reference, and the first of equals is taken"


@pytest.mark.parametrize(("texts", "best"), [([], None), ([None, " "], None), (["a"], 0), ([None, "a"], 1)])
def test_few_texts_are_chosen_from_as_far_as_there_are(texts: list[str | None], best: int | None) -> None:
    assert minimum_bayes_risk(texts)[0] == best
