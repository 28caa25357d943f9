"""A grader scores a reply from 0 to 1, and says which place of its template has no value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.graders import (
    FILLED_LENGTH_MAX,
    FUZZY_LENGTH_MAX,
    OPERATIONS,
    SIMILARITIES,
    filled,
    graded,
    similarity,
)

OUTPUT = "{{sample.output_text}}"


@pytest.mark.parametrize(
    ("operation", "output", "score"),
    [
        ("eq", "Paris", 1.0),
        ("eq", "paris", 0.0),
        ("ne", "paris", 1.0),
        ("ne", "Paris", 0.0),
        ("like", "It is Paris.", 1.0),
        ("like", "It is paris.", 0.0),
        ("ilike", "It is paris.", 1.0),
        ("ilike", "It is PARIſ.", 1.0),
        ("ilike", "It is Rome.", 0.0),
    ],
)
def test_a_string_check_compares_the_reply_with_the_reference(
    operation: str, output: str, score: float
) -> None:
    grader = {"input": OUTPUT, "reference": "{{item.answer}}", "operation": operation}

    assert graded(grader, {"answer": "Paris"}, output) == score


@pytest.mark.parametrize(
    ("metric", "text", "score"),
    [
        ("fuzzy_match", "the cat sat", 1.0),
        ("rouge_1", "The CAT, sat!", 1.0),
        ("rouge_1", "the dog sat", 2 / 3),
        ("rouge_2", "the dog sat", 0.0),
        ("rouge_2", "so the cat sat", 4 / 5),
        ("rouge_3", "the cat sat", 1.0),
        ("rouge_4", "the cat sat", 0.0),
        ("rouge_l", "the black cat then sat", 6 / 8),
        ("rouge_l", "sat cat the", 2 / 6),
        ("rouge_l", "", 0.0),
    ],
)
def test_a_similarity_is_as_its_definition_says(metric: str, text: str, score: float) -> None:
    assert similarity(metric, text, "the cat sat") == pytest.approx(score)


@given(st.sampled_from(SIMILARITIES), st.text(), st.text())
def test_a_similarity_is_from_0_to_1(metric: str, text: str, reference: str) -> None:
    assert 0.0 <= similarity(metric, text, reference) <= 1.0


def test_a_template_takes_the_reply_and_the_fields_of_the_line() -> None:
    item: dict[str, Any] = {"answer": {"city": "Ghent", "years": [1, 2]}, "n": 7}

    assert filled(
        "{{ item.answer.city }} {{item.n}} {{item.answer.years}}: {{sample.output_text}}", item, "{{x}}"
    ) == ("Ghent 7 [1, 2]: {{x}}")


@pytest.mark.parametrize("place", ["item.none", "item.n.more", "item", "sample.output_json", "n", ""])
def test_a_place_without_a_value_is_named(place: str) -> None:
    with pytest.raises(ValueError, match=f"there is no '{place}'"):
        filled(f"{{{{{place}}}}}", {"n": 7}, "reply")


@pytest.mark.parametrize("broken", ["{{" + " " * 100_000, "{{" * 50_000, "{{ x" * 25_000])
def test_a_template_whose_place_has_no_end_stays_as_it_is(broken: str) -> None:
    assert filled(broken, {}, "reply") == broken


def test_a_field_that_is_named_many_times_fills_no_memory() -> None:
    template, item = "{{item.a}}" * 1000, {"a": "x" * (FILLED_LENGTH_MAX // 1000)}

    assert len(filled(template, item, "")) == 1000 * len(item["a"])
    with pytest.raises(ValueError, match="more than 1,048,576 characters"):
        filled(template, {"a": item["a"] + "xx"}, "")


def test_of_long_texts_fuzzy_match_compares_the_beginning() -> None:
    alike = "ab" * (FUZZY_LENGTH_MAX // 2)

    assert similarity("fuzzy_match", alike + "c" * 5000, alike + "d" * 5000) == 1.0


def test_every_operation_is_known() -> None:
    for operation in OPERATIONS:
        graded({"input": OUTPUT, "reference": "", "operation": operation}, {}, "")
    with pytest.raises(ValueError, match="no operation 'gt'"):
        graded({"input": OUTPUT, "reference": "", "operation": "gt"}, {}, "")
