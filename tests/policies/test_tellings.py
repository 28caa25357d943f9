"""A question finds the turn that tells what it asks for."""

import pytest

from populace.policies.retrieval import Exchange
from populace.policies.tellings import comparable, telling_for


def exchange(position: int, said: str, *, is_corrected: bool = False) -> Exchange:
    return Exchange(position, said, "Noted.", b"turn %d" % position, is_corrected)


LOG = [
    exchange(0, "My dog is called Bruno."),
    exchange(1, "I live in Maribor, in a flat over a bakery."),
    exchange(2, "What is my dog called?"),
    exchange(3, "Tell me a fun fact about penguins."),
    exchange(4, "My sister Katarzyna is a dentist in Leuven."),
]


@pytest.mark.parametrize(
    ("question", "position"),
    [
        ("What is my dog called?", 0),
        ("what's the name of my dog?", 0),
        ("Where is my flat over the bakery?", 1),
        ("Tell me the name of my dog.", 0),
        ("Tell me a joke.", None),
        ("What is the capital of Italy?", None),
        ("Why do penguins waddle?", None),
        ("My cat is called Luna.", None),
        ("", None),
    ],
)
def test_it_is_the_turn_that_has_what_most_says_what_a_question_is_about(
    question: str, position: int | None
) -> None:
    found = telling_for(question, LOG)

    assert (None if found is None else found.position) == position


@pytest.mark.parametrize(
    ("said", "is_name"),
    [
        ("Hi, I'm Nora.", True),
        ("hello there! I am Željko and I keep bees", True),
        ("Good evening, this is O’Brien.", True),
        ("I'm Italian.", False),
        ("Hi, I'm tired.", False),
        ("Hi!", False),
    ],
)
def test_who_introduces_themselves_tells_their_name(said: str, is_name: bool) -> None:
    told = exchange(7, said)

    assert telling_for("What's my name?", [*LOG, told]) == (told if is_name else None)


@pytest.mark.parametrize(
    ("said", "question", "is_home"),
    [
        ("I moved to Maribor last week.", "Where do I live?", True),
        ("By the way, we've just moved back to New York.", "Where do we live?", True),
        ("My sister has moved to Linz.", "Where does my sister live?", True),
        ("My sister has moved to Linz.", "Where does my brother live?", False),
        ("I moved to the second floor.", "Where do I live?", False),
        ("I moved house.", "Where do I live?", False),
    ],
)
def test_who_moved_to_a_place_tells_where_they_live(said: str, question: str, is_home: bool) -> None:
    older, told = exchange(7, "I live in Graz."), exchange(8, said)

    found = telling_for(question, [told])

    assert found == (told if is_home else None)
    if question == "Where do I live?":
        assert telling_for(question, [older, told]) == (told if is_home else older)


def test_what_was_told_anew_counts() -> None:
    moved = exchange(7, "I moved, my flat is in the city of Piran now.")

    found = telling_for("Which city is my flat in?", [*LOG, moved])

    assert found == moved


def test_questions_and_long_texts_tell_nothing() -> None:
    pasted = exchange(8, "My dog is called Rex. " + "And so on. " * 60)

    assert telling_for("What is my dog called?", [LOG[2], pasted]) is None


def test_beside_a_correction_nothing_is_read() -> None:
    corrected = exchange(9, "What is my dog called?", is_corrected=True)

    assert telling_for("What is my dog called?", [*LOG, corrected]) is None


def test_a_turn_that_has_nothing_but_the_questions_words_tells_nothing() -> None:
    assert telling_for("Hello, hello?", [exchange(0, "hello")]) is None


def test_nothing_was_retrieved() -> None:
    assert telling_for("What is my dog called?", []) is None


@pytest.mark.parametrize(
    ("question", "position"),
    [
        ("What job do I have?", 4),
        ("What job does my brother have?", None),
        ("What does a dentist do?", None),
        ("What job do you have, and do I know it?", None),
        ("Should I get another job?", None),
        ("¿Cuál es mi trabajo?", None),
    ],
)
def test_what_is_alike_in_meaning_is_told_if_it_is_of_the_persons_own(
    question: str, position: int | None
) -> None:
    may_tell = {one.position for one in comparable(question, LOG)}
    found = telling_for(question, LOG, dict.fromkeys(may_tell, 0.3) | {4: 0.6} if 4 in may_tell else {})

    assert (None if found is None else found.position) == position
    assert 2 not in may_tell, "a question tells nothing"
    assert telling_for(question, LOG, dict.fromkeys(may_tell, 0.4)) is None


def test_words_go_before_meaning() -> None:
    assert telling_for("What is my dog called?", LOG, {0: 0.1, 1: 0.9}) == LOG[0]


def test_of_what_is_nearly_as_alike_the_newest_is_told() -> None:
    anew = exchange(9, "I am a baker since Monday.")

    assert telling_for("What job do I have?", [*LOG, anew], {4: 0.6, 9: 0.55}) == anew
    assert telling_for("What job do I have?", [*LOG, anew], {4: 0.6, 9: 0.5}) == LOG[4]
    assert telling_for("What job do I have?", [*LOG, anew], {4: 0.46, 9: 0.44}) == LOG[4]
