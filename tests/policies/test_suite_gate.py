"""A candidate that no longer answers what was answered before is rejected, by the names of the questions."""

from hypothesis import given
from hypothesis import strategies as st

from populace.policies.evaluation_gate import GateRule, suite_objection, verdict
from populace.policies.quoted_words import without_words
from tests.policies.test_evaluation_gate import BETTER

QUESTIONS = st.lists(st.text(min_size=1), unique=True, max_size=8)
DOG = "what is my dog called?"


@given(QUESTIONS, st.data())
def test_there_is_an_objection_if_and_only_if_a_passed_question_is_lost(
    asked: list[str], data: st.DataObject
) -> None:
    parent = data.draw(st.lists(st.sampled_from(asked), unique=True)) if asked else []
    candidate = data.draw(st.lists(st.sampled_from(asked), unique=True)) if asked else []
    judged = verdict(
        BETTER._replace(suite_total=len(asked), suite_parent=parent, suite_candidate=candidate), GateRule()
    )

    assert judged.promotes == (set(parent) <= set(candidate))


def test_a_candidate_may_answer_more_and_a_suite_that_nothing_passes_objects_to_nothing() -> None:
    for before, after in (((), (DOG,)), ((), ()), ((DOG,), ("more", DOG))):
        assert suite_objection(before, after) is None


def test_up_to_three_lost_questions_are_named() -> None:
    said = [suite_objection([f"{n}?" for n in range(count)], []) for count in range(1, 6)]

    assert said == [
        "it no longer answers “0?” as the suite wants",
        "it no longer answers “0?” and “1?” as the suite wants",
        "it no longer answers “0?”, “1?” and “2?” as the suite wants",
        "it no longer answers “0?”, “1?”, “2?” and 1 more as the suite wants",
        "it no longer answers “0?”, “1?”, “2?” and 2 more as the suite wants",
    ]


def test_a_long_question_is_shortened_and_stays_on_a_line() -> None:
    objection = suite_objection(["a\nb  c" * 400], [])

    assert objection is not None
    assert objection.startswith("it no longer answers “a b ca b ca")
    assert len(objection) < 150
    assert "\n" not in objection


@given(st.lists(st.text(alphabet="xyz “”\n", min_size=1), min_size=1, unique=True), st.integers(0, 200))
def test_without_words_no_word_of_a_question_is_left_even_of_a_cut_objection(
    lost: list[str], cut: int
) -> None:
    objection = suite_objection(lost, [])
    assert objection is not None

    left = without_words(objection[: len(objection) - cut])

    ours = set("it no longer answers as the suite wants more and, “…”0123456789")
    assert set(left) <= ours
    assert without_words("its loss is higher") == "its loss is higher"
