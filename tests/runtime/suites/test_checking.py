"""Replies are checked as the suite says, and no regular expression takes more than its time."""

import time

import pytest

from populace.actors.suites import suite_of
from populace.suites.checking import passed
from populace.suites.matching import SECONDS_EACH, PatternsTooSlow, PatternTime, matched
from tests.limits import HANG_SECONDS

DOUBLES = r"(a|a)*b"
"""Takes twice the time for each more ``a`` of a text that does not match."""


def test_each_question_has_its_own_check() -> None:
    suite = suite_of(
        [
            {"ask": "1?", "expect": "Bruno"},
            {"ask": "2?", "expect": "Bruno", "check": "exact"},
            {"ask": "3?", "expect": 7, "check": "number"},
            {"ask": "4?", "expect": r"\d{4}", "check": "matches"},
            {"ask": "5?", "expect": "[a-z]+", "check": "matches"},
            {"ask": "6?", "expect": "Ahoy, aunt Ada!", "check": "likeness"},
            {"ask": "7?", "expect": "Ahoy, aunt Ada!", "check": "likeness", "least": 0.95},
        ]
    )

    right = ["It is bruno.", " Bruno ", "1 + 6 is 7.", "1984\n", "word", "Ahoy aunt!", "aunt Ada, ahoy"]
    assert passed(suite, right) == [True] * 7
    wrong = ["Bru", "It is Bruno", "none", "84", "two words", "Hello.", "Ahoy aunt!"]
    assert passed(suite, wrong) == [False] * 7
    assert passed(suite, [*right[:3], "84", *right[4:]]) == [True, True, True, False, True, True, True]


def test_a_pattern_that_would_take_years_fails_alone() -> None:
    began = time.monotonic()

    found = matched([(r"\w+", "yes"), (DOUBLES, "a" * 200), (r"\w+", "yes"), (DOUBLES, "aab"), ("a", "b")])

    assert found == [True, False, True, True, False]
    assert time.monotonic() - began < HANG_SECONDS
    assert SECONDS_EACH < 1


def test_patterns_that_take_all_of_their_time_are_given_up_and_the_others_have_what_is_left() -> None:
    patterns = PatternTime(1.5 * SECONDS_EACH)

    assert patterns.matched([(r"\w+", "yes"), (DOUBLES, "a" * 200)]) == [True, False]
    with pytest.raises(PatternsTooSlow):
        patterns.matched([(DOUBLES, "a" * 200), (r"\w+", "yes")])
    with pytest.raises(PatternsTooSlow):
        patterns.matched([(r"\w+", "yes")])
    assert PatternTime().matched([(r"\w+", "yes")]) == [True], "of another job"


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(?P<1>a)"])
def test_what_is_no_pattern_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression: "):
        matched([("a", "a"), (pattern, "a")])
