"""A reply passes what its check asks of it, and a check that no reply could pass is known beforehand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.reply_checks import (
    ReplyCheck,
    contains,
    is_exact,
    last_number,
    matches_whole,
    problem_of,
)


@given(st.text(), st.text(), st.text())
def test_a_text_is_contained_wherever_it_stands_in_any_case(before: str, wanted: str, after: str) -> None:
    assert contains(f"{before}{wanted}{after}".lower(), wanted)


def test_each_check_tells_right_from_wrong() -> None:
    assert contains("Your dog is BRUNO.", " bruno ")
    assert not contains("Your dog is Bru no.", "bruno")
    assert is_exact(" Bruno.\n", "Bruno.")
    assert not is_exact("bruno.", "Bruno.")
    assert last_number("3 + 4 is 1,007.50, is it?") == 1007.5
    assert last_number("none") is None
    assert matches_whole(" a\nb ", "a.b")
    assert not matches_whole("a b c", "a.b")


@pytest.mark.parametrize(
    ("check", "wanted", "problem"),
    [
        ("number", "seven", "'seven' is no number"),
        ("number", "inf", "'inf' is no number"),
        ("matches", "(a", "'(a' is no regular expression: missing )"),
        ("matches", "(" * 1900 + ")" * 1900, "is no regular expression"),
        ("matches", "a{99999999999999999999}", "is no regular expression"),
        ("number", "-7.5", None),
        ("matches", r"\d+", None),
        ("exact", "(a", None),
        ("contains", "(a", None),
    ],
)
def test_what_no_reply_could_be_checked_against_is_named(
    check: ReplyCheck, wanted: str, problem: str | None
) -> None:
    found = problem_of(check, wanted)

    assert (found is None) if problem is None else re.search(re.escape(problem), found or "")
