"""What is learned as an answer is nothing but that."""

import pytest

from populace.policies.told_answers import is_answer, value_words

TOLD = "My dog is called Bruno."
ASKED = "What is my dog called?"


@pytest.mark.parametrize(
    ("told", "asked", "reply"),
    [
        (TOLD, ASKED, "Your dog is called Bruno."),
        (TOLD, "What's the name of my dog?", "The name of your dog is Bruno."),
        (TOLD, "Who is Bruno?", "Bruno is your dog."),
        ("I was born in 1974.", "In which year was I born?", "You were born in 1974."),
        ("I'm allergic to walnuts.", "What am I allergic to?", "You're allergic to walnuts."),
        ("My sister lives in Oslo.", "Where does my sister live?", "She lives in Oslo."),
    ],
)
def test_a_reply_of_told_words_is_an_answer(told: str, asked: str, reply: str) -> None:
    assert is_answer(told, asked, reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I do not know.",
        "Your dog is called.",
        "Your dog has a name.",
        "Bruno is a friendly and lovable dog named Max.",
        "The user said: My dog is called Bruno.",
        "My dog is called Bruno.",
        "I'm sorry, your dog is called Bruno.",
        "You are called Bruno.",
    ],
    ids=[
        "empty",
        "does not know",
        "without the value",
        "the question again",
        "made up beside it",
        "the prompt's frame",
        "the person's own words",
        "of the model itself",
        "of the person",
    ],
)
def test_no_other_reply_is(reply: str) -> None:
    assert not is_answer(TOLD, ASKED, reply)


@pytest.mark.parametrize(
    ("told", "asked", "reply", "is_one"),
    [
        ("I am not allergic to nuts.", "What am I allergic to?", "You are allergic to nuts.", False),
        ("I must not take ibuprofen as medicine.", "What medicine do I take?", "You take ibuprofen.", False),
        ("My dog isn't called Rex.", "What is my dog called?", "Your dog is called Rex.", False),
        ("I don't live in Rome, but in Oslo.", "Where do I live?", "You live in Rome.", False),
        ("I don't live in Rome, but in Oslo.", "Where do I live?", "You live in Oslo.", True),
        ("I can't eat peanuts.", "What can't I eat?", "You can't eat peanuts.", True),
        ("My dog is Rex and he's not old.", "What is my dog called?", "Your dog is called Rex.", True),
    ],
)
def test_what_was_told_to_be_not_so_is_no_answer(told: str, asked: str, reply: str, is_one: bool) -> None:
    assert is_answer(told, asked, reply) == is_one


@pytest.mark.parametrize(
    ("told", "asked", "reply", "is_one"),
    [
        ("My dog Bruno is a beagle, six years old.", "How old is my dog?", "Your dog is a beagle.", False),
        ("My dog Bruno is a beagle, six years old.", "How old is my dog?", "He is six years old.", True),
        ("My flat is on the fourth floor, 850 euros.", "And how much is my flat?", "850 euros.", True),
        (
            "My brother Tom marries in Rome in May.",
            "when does my brother marry",
            "He marries in Rome.",
            False,
        ),
        ("My brother Tom marries in Rome in May.", "Which month is it?", "It is in May.", True),
    ],
)
def test_what_asks_for_a_time_or_a_number_is_answered_with_one(
    told: str, asked: str, reply: str, is_one: bool
) -> None:
    assert is_answer(told, asked, reply) is is_one


def test_the_words_of_the_told_turn_alone_tell_a_value() -> None:
    assert value_words("My dog is called Bruno. Do you like him?", ASKED) == {"bruno"}
    assert value_words("Anna is my wife.", "Who is Anna?") == {"wife"}
    assert value_words(ASKED, "Who?") == frozenset()
