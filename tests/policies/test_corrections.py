"""Which correction applies to a question: the same question, or nearly the same, and no other."""

import pytest

from populace.policies.corrections import Corrected, applying
from populace.policies.retrieval import words_of

CORRECTIONS = (
    Corrected(3, "What is my dog called?", "Your dog is called Bruno."),
    Corrected(8, "What's my sister Eluned's husband called?", "Eluned's husband is called Zdravko."),
    Corrected(11, "Which firm are we renting the car from?", "You rent it from Ilha Verde."),
    Corrected(12, "", "An empty question has no words."),
)


def applied(question: str, corrections: tuple[Corrected, ...] = CORRECTIONS) -> int | None:
    return applying(corrections, words_of(question))


@pytest.mark.parametrize(
    ("question", "position"),
    [
        ("What is my dog called?", 3),
        ("what's the name of my dog", 3),
        ("Tell me the name of Eluned's husband.", 8),
        ("Which firm is our rental car from?", 11),
    ],
)
def test_the_same_question_in_nearly_the_same_words_gets_its_correction(question: str, position: int) -> None:
    assert applied(question) == position


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "What's the name of Irakli's school?",
        "Write a poem about the sea.",
        "How do I train a puppy?",
        "What do you call a group of crows?",
        "Why do people have a sister city?",
        "犬の名前は何ですか",
        "",
        "?!",
    ],
)
def test_another_question_gets_none(question: str) -> None:
    assert applied(question) is None


def test_of_equal_ones_the_newest_applies() -> None:
    again = (*CORRECTIONS, Corrected(20, "What is my dog called?", "Your dog is called Luna."))

    assert applied("What is my dog called?", again) == 20


def test_without_corrections_none_applies() -> None:
    assert applied("What is my dog called?", ()) is None


def test_a_language_without_common_words_is_matched_too() -> None:
    corrections = (Corrected(1, "私の犬の名前は何ですか", "ブルーノです。"),)

    assert applied("私の犬の名前は", corrections) == 1
    assert applied("フランスの首都はどこ", corrections) is None
