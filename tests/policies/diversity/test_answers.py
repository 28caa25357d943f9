"""Replies that say the same in other words vote for the same, and what says nothing abstains."""

import pytest

from populace.policies.diversity.answers import choice_of, extractor, number_of, words_of

CITIES = ("Paris", "York", "New York", "Rome")


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("B", "B"),
        ("(C) New York", "C"),
        ("C) New York", "C"),
        ("D. Rome is the capital.", "D"),
        ("The answer is B.", "B"),
        ("I think the correct option: (d)", "D"),
        ("It is Paris, of course.", "A"),
        ("New York is the largest.", "C"),
        ("York, not Rome.", None),
        ("A city in Italy.", None),
        ("Answer: Z", None),
        ("", None),
        ("I do not know.", None),
        ("Answer: A, because Rome is far.", "A"),
    ],
)
def test_a_choice_is_named_by_its_label_or_by_its_words(reply: str, label: str | None) -> None:
    assert choice_of(reply, CITIES) == label


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("7", "7"),
        ("3 + 4 = 7.", "7"),
        ("It is 1,200.50 euros", "1200.5"),
        ("-0.0", "0"),
        ("+12", "12"),
        ("3,50 Liter", "3.5"),
        ("10-12", "12"),
        ("−7", "-7"),
        ("1000000", "1000000"),
        ("none", None),
        ("", None),
    ],
)
def test_a_number_is_the_last_one_in_its_shortest_form(reply: str, number: str | None) -> None:
    assert number_of(reply) == number


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("The Eiffel Tower.", "eiffel tower"),
        ("\n  the eiffel-tower!\nIt is tall.", "eiffel-tower"),
        ("The", "the"),
        ("?!", None),
        ("one two three four five six seven eight nine ten eleven twelve thirteen", None),
    ],
)
def test_words_are_those_of_the_first_line_but_for_articles_and_marks(reply: str, words: str | None) -> None:
    assert words_of(reply) == words


def test_each_kind_is_read_in_its_way() -> None:
    assert extractor("number")("seven or 8") == "8"
    assert extractor("words")("A cat") == "cat"
    assert extractor("choice", CITIES)("Rome") == "D"


@pytest.mark.parametrize("choices", [[], ["one"], ["Rome", "rome!"], [str(one) for one in range(27)]])
def test_choices_that_are_none_are_refused(choices: list[str]) -> None:
    with pytest.raises(ValueError, match="choices"):
        extractor("choice", choices)
