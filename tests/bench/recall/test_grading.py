"""What counts as right, as broken off, as an admission, and as following an instruction."""

from typing import Any

import pytest

from populace.policies.whole_replies import ends_open
from scripts.bench.recall.grading import (
    Reply,
    admits,
    denies,
    follows,
    has_number,
    is_broken_off,
    is_outdated,
    is_right,
    names_value,
)
from scripts.bench.recall.held_out import Check, Question


def question(**parts: Any) -> Question:
    return Question.model_validate({"ask": "?", "value": [], "kind": "named", **parts})


def stopped(text: str) -> Reply:
    return Reply(text, (1,), "stop")


def test_one_of_the_values_is_enough_letter_case_aside() -> None:
    asked = question(value=["Škoda", "Skoda"])

    assert is_right(asked, "you drive a SKODA.")
    assert is_right(asked, "A škoda, I think.")
    assert not is_right(asked, "You drive a car.")


def test_what_must_not_be_said_makes_a_reply_wrong_whatever_else_it_says() -> None:
    asked = question(value=["sesame"], **{"not": ["kiwi"]})

    assert is_right(asked, "Sesame.")
    assert not is_right(asked, "Sesame and kiwi.")


def test_without_a_value_silence_is_right() -> None:
    asked = question(**{"not": ["golf"]})

    assert is_right(asked, "Tennis, rowing, judo.")
    assert not is_right(asked, "Golf.")


def test_an_outdated_value_beside_the_new_one_is_right() -> None:
    asked = question(value=["Ghent"], old=["Bruges"])

    assert not is_outdated(asked, "Ghent, no longer Bruges.")
    assert is_right(asked, "Ghent, no longer Bruges.")
    assert is_outdated(asked, "You live in Bruges.")
    assert not is_outdated(asked, "You live in Paris.")


def test_a_generated_value_stands_as_words_of_its_own() -> None:
    assert names_value("Your sport is TABLE TENNIS!", "table tennis")
    assert not names_value("You like port wine.", "port win")
    assert not names_value("Anything.", None)


@pytest.mark.parametrize(
    "reply",
    [
        "You have not told me your middle name.",
        "You haven’t mentioned it yet.",
        "You never told me.",
        "I don't know your blood type.",
        "I do not have access to your personal information.",
        "I'm sorry, but I don't have any information about your landlord.",
        "I'm not sure which bank you are with.",
        "I have no way of seeing that.",
        "I cannot access your records.",
        "I'm unable to recall that.",
        "That was not mentioned to me.",
        "Could you please tell me what your middle name is?",
        "I haven't been told your salary.",
    ],
)
def test_saying_that_it_was_not_told_is_an_admission(reply: str) -> None:
    assert admits(reply)
    assert denies(reply, right=False)
    assert not denies(reply, right=True)


@pytest.mark.parametrize(
    "reply",
    [
        "Your middle name is Rose.",
        "Your blood type is A positive. Please let me know if you need anything else.",
        "I'm not sure, but your bank is Barclays.",
        "I don't have a middle name.",
        "You have blue eyes.",
        "That sounds great! Could you tell me more about it?",
        "You told me that you are tall.",
        "",
    ],
)
def test_a_claim_or_a_phrase_of_politeness_is_no_admission(reply: str) -> None:
    assert not admits(reply)


@pytest.mark.parametrize(
    "text",
    [
        "That is all.",
        'She said "no."',
        "Really?!",
        "**Enjoy it!**",
        "(See below.)",
        "Have fun 🎉",
        "Lisbon",
        "Two hours",
        "```python\nprint(1)\n```",
        "Yours sincerely,\n[Your Name]",
        "Here are some:\n1. Bears\n2. Bats\n3. Hedgehogs of the north of Europe",
    ],
)
def test_a_whole_reply_is_not_open(text: str) -> None:
    assert not ends_open(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "The sea is salty because the",
        "It has three parts, and",
        "First of all you should,",
        "Some tips:\n1. Sleep well.\n2. Drink a lot of the",
        "He said *and then he",
    ],
)
def test_a_reply_that_stops_in_a_sentence_is_open(text: str) -> None:
    assert ends_open(text)


def test_only_the_model_can_break_off_and_only_where_the_base_did_not() -> None:
    whole, half = stopped("The sea is very salty."), stopped("The sea is very salty because")

    assert is_broken_off(half, whole)
    assert not is_broken_off(whole, half)
    assert not is_broken_off(half, half)
    assert not is_broken_off(half._replace(finish_reason="length"), whole)
    assert is_broken_off(half, half._replace(finish_reason="length"))


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"contains": ["candle", "window"]}, "A Candle by the window.", "A candle."),
        ({"words": 1}, '"Water."', "They drink water."),
        ({"words_max": 3}, "Cold - and dark.", "It is cold outside."),
        ({"uppercase": True}, "THE DOG IS ASLEEP!", "The dog is asleep"),
        ({"lowercase": True}, "stop at the red light", "Stop at the red light"),
        ({"lowercase": True}, "“good morning”", "123"),
        ({"lines": 2}, "Atlantic\n\nPacific\n", "Atlantic, Pacific"),
        ({"starts_with": "Dear"}, '"Dear landlord, ..."', "My dear landlord"),
        ({"ends_with": "Stay active!"}, 'It helps. "Stay active!"', "Stay active! Always."),
        ({"ends_with": "butter"}, "Bread is best with butter.", "Butter on bread"),
        ({"ends_with": "?"}, "Do you like films?", "I like films."),
        ({"number": 12}, "7 plus 5 is 12.", "It is 112."),
        ({"json": True}, '```json\n{"name": "Ann"}\n```', 'Here: {"name": "Ann"}'),
        ({"json": True}, "[1, 2]", "[1, 2,"),
    ],
)
def test_an_instruction_is_followed_or_not(check: dict[str, Any], right: str, wrong: str) -> None:
    checked = Check.model_validate(check)

    assert follows(checked, right)
    assert not follows(checked, wrong)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (6, "six"),
        (6, "There are six letters."),
        (36, "thirty-six"),
        (36, "Thirty six."),
        (60, "It's sixty."),
        (16, "16 euros"),
        (45, "= 45."),
        (100, "one hundred"),
        (18, "3 x 6=18"),
    ],
)
def test_a_number_is_found_in_digits_and_in_words(number: int, text: str) -> None:
    assert has_number(text, number)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (6, "36"),
        (6, "6.5"),
        (6, "1,6"),
        (6, "thirty-six"),
        (6, "sixty"),
        (6, "a hundred and six"),
        (60, "sixty-one"),
        (36, "one hundred thirty-six"),
        (9, "nineteen"),
        (100, "a hundred and twenty"),
        (100, "two hundred"),
        (240, "two hundred forty"),
    ],
)
def test_a_part_of_another_number_is_not_the_number(number: int, text: str) -> None:
    assert not has_number(text, number)
