"""A reply passes what its check asks of it, and a check that no reply could pass is known beforehand."""

import re
import time

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
    # Apart, since an accent behind the wanted text would be one of its last letter.
    assert contains(f"{before} {wanted} {after}".lower(), wanted)


def test_each_check_tells_right_from_wrong() -> None:
    assert contains("Your dog is BRUNO.", " bruno ")
    assert not contains("Your dog is Bru no.", "bruno")
    assert is_exact(" Bruno.\n", "Bruno.")
    assert not is_exact("bruno.", "Bruno.")
    assert matches_whole(" a\nb ", "a.b")
    assert not matches_whole("a b c", "a.b")


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("Sie wohnt in der STRASSE 7.", "Straße"),
        ("Sie wohnt in der Straße 7.", "STRASSE"),
        ("It is Zoe\u0308's cafe\u0301.", "zoë's CAFÉ"),
        ("It is Zoë's café.", "ZOE\u0308"),
        ("ΟΔΥΣΣΕΥΣ", "Οδυσσευς"),
    ],
)
def test_case_is_that_of_every_script_and_an_accent_is_one_however_it_is_stored(
    reply: str, wanted: str
) -> None:
    assert contains(reply, wanted)
    assert not contains("It is a cafe\u0301.", "cafe")


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("3 + 4 is 1,007.50, is it?", 1007.5),
        ("1,234,567", 1234567),
        ("12,34,567", 1234567),
        ("Nimm 3,5 Liter.", 3.5),
        ("Das kostet 1.234,50 Euro.", 1234.5),
        ("0,125", 0.125),
        ("3,1415", 3.1415),
        ("3,141", 3141),
        ("First 1, then 2, then 3.", 3),
        ("It costs 10-12 euros.", 12),
        ("It costs 10−12 euros.", 12),
        ("They had COVID-19", 19),
        ("That is −7 °C.", -7),
        ("(-7)", -7),
        ("x=-7,5", -7.5),
        ("+7", 7),
        ("am 24.12.2024", 2024),
        ("none", None),
        ("", None),
    ],
)
def test_a_number_is_the_last_one_as_people_write_it(reply: str, number: float | None) -> None:
    assert last_number(reply) == number


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_every_number_is_read_as_it_was_written(value: float) -> None:
    value = round(value, 2)

    assert last_number(f"It is {value:,.2f}.") == last_number(f"It is {value:.2f}.") == value
    # The German form.
    assert last_number(f"{value:,.2f}".translate(str.maketrans(",.", ".,"))) == value


@given(st.text("1234,.-−"))
def test_whatever_is_written_of_digits_is_a_number_or_none(text: str) -> None:
    number = last_number(text)

    assert (number is not None) == any(sign.isdigit() for sign in text)


@pytest.mark.parametrize("text", ["1", "1,", "1,11", ",111", ",11", "1.111", "-"])
def test_a_long_row_of_digits_and_marks_is_read_in_no_time(text: str) -> None:
    began = time.process_time()
    last_number(text * 2**16)
    assert time.process_time() - began < 5


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
