"""Which correction applies to a question: the same question, or nearly the same, and no other."""

import pytest

from populace.policies.corrections import COMPARED_MAX, Corrected, applying, comparable

CORRECTIONS = (
    Corrected(3, "What is my dog called?", "Your dog is called Bruno."),
    Corrected(8, "What's my sister Eluned's husband called?", "Eluned's husband is called Zdravko."),
    Corrected(11, "Which firm are we renting the car from?", "You rent it from Ilha Verde."),
    Corrected(12, "", "An empty question has no words."),
)


def applied(question: str, corrections: tuple[Corrected, ...] = CORRECTIONS) -> int | None:
    return applying(corrections, question)


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
        "What is a dog called in French?",
        "What is my cat called?",
        "What is my dog's favourite toy?",
        "How old is my dog?",
        "What is your dog called?",
        "My dog is sick, what should I do?",
        "My dog is called Bruno.",
        "Which firm is the car from?",
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


def test_the_newest_is_the_one_given_last_whichever_turn_it_is_of() -> None:
    two = [
        Corrected(7, "Which bus do I take?", "The 9."),
        Corrected(0, "Which bus do I take?", "The 4."),
    ]
    reworded = [two[0], two[1]._replace(asked="What is the bus that I take?")]

    assert applying(two, "which bus do I take") == 0
    assert applying(two, "Tell me which bus I take.") == 0
    assert applying(two, "With what bus do I go there?", {0: 0.9, 7: 0.9}) == 0
    assert applying(reworded, "With what bus do I go there?", {0: 0.85, 7: 0.9}) == 0
    assert applying(reworded, "Which bus do I take?", {0: 0.9, 7: 1.0}) == 0


def test_what_was_asked_in_other_words_may_be_no_question_of_ones_own() -> None:
    corrections = (
        Corrected(1, "When do the bins go out?", "On Wednesday mornings."),
        Corrected(2, "Write a haiku about the sea.", "Grey waves, a gull."),
    )

    assert applied("When must the bins go out?", corrections) == 1
    assert applied("When does the post go out?", corrections) is None
    assert applied("write a haiku about the sea", corrections) == 2
    assert applied("Write a haiku about the rain.", corrections) is None


def test_without_corrections_none_applies() -> None:
    assert applied("What is my dog called?", ()) is None


def test_a_language_without_common_words_is_matched_too() -> None:
    corrections = (Corrected(1, "私の犬の名前は何ですか", "ブルーノです。"),)

    assert applied("私の犬の名前は", corrections) == 1
    assert applied("フランスの首都はどこ", corrections) is None


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("Correct my English: He like fish.", "Correct my English: She go home."),
        ("Translate my sentence to German: The cat sleeps.", "Translate my sentence to German: We are late."),
        ("Rewrite my mail politely.\n\nSend the file.", "Rewrite my mail politely.\n\nThe price is wrong."),
        ("What is 5+3?", "What is 5-3?"),
        ("What is the square of -3?", "What is the square of 3?"),
        ("Is 7 > 5?", "Is 7 < 5?"),
        ("Do I like C++?", "Do I like C#?"),
        ("What does 👍 mean?", "What does 👎 mean?"),
        ("What is my grandmother called?", "what's the name of my grandfather?"),
        ("What is my password for the bank?", "What is my passport number for the bank?"),
        ("wie heißt meine mutter?", "wie heißt mein bruder?"),
        ("hur gammal är min syster", "hur gammal är min bror nu då"),
        ("¿Cómo se llama mi hermana?", "¿Como se llama mi hermano?"),
        ("मेरी बेटी का नाम क्या है?", "मेरे बेटे का नाम क्या है?"),
        ("私の好きなコーヒーは何ですか?", "私の好きなラーメンは何ですか?"),
        ("我最喜欢的巧克力牌子是什么?", "我最喜欢的冰淇淋牌子是什么?"),
        ("น้องสาวของฉันชื่ออะไร", "พี่ชายของฉันชื่ออะไร"),
    ],
)
def test_what_another_text_or_sign_or_word_of_any_language_tells_apart(asked: str, other: str) -> None:
    correction = [Corrected(0, asked, "So it is.")]

    assert applied(other, tuple(correction)) is None
    assert applied(asked, tuple(correction)) == 0


@pytest.mark.parametrize(
    "question",
    [
        "Remind me: what is my dog called?",
        "Hi!\nWhat is my dog called?",
        "What is my dog called? 🐶",
        "*What* is my dog called...",
    ],
)
def test_what_stands_around_a_question_does_not(question: str) -> None:
    assert applied(question) == 3


def test_what_people_call_the_same_thing_is_one() -> None:
    assert applied("What's my mum called?", (Corrected(1, "What is my mother called?", "Ada."),)) == 1


@pytest.mark.parametrize(
    ("question", "position"),
    [
        ("By which name does my dog go?", 3),
        ("Whom did my sister Eluned marry?", 8),
        ("What is my cat called?", None),
        ("What is the dog of my neighbour's called?", None),
        ("What is a good dog?", None),
        ("How old is my dog?", None),
        ("My dog is called Rex now.", None),
        ("Mein Hund heißt jetzt Rex?", None),
        ("หมาของฉันชื่ออะไร?", None),
    ],
)
def test_what_is_alike_in_meaning_gets_its_correction_if_it_may_mean_the_same(
    question: str, position: int | None
) -> None:
    assert applying(CORRECTIONS, question, {position or 3: 0.9}) == position
    assert applying(CORRECTIONS, question, {position or 3: 0.69}) == applied(question)


def test_the_most_alike_applies_and_of_nearly_equal_ones_the_newest() -> None:
    two = [
        Corrected(0, "Which bus do I take?", "The 4."),
        Corrected(7, "What is the bus that I take?", "The 9."),
    ]
    asked = "With what bus do I go there?"

    assert applying(two, asked, {0: 0.8, 7: 0.9}) == 7
    assert applying(two, asked, {0: 0.95, 7: 0.8}) == 0
    assert applying(two, asked, {0: 0.9, 7: 0.85}) == 7, "it was corrected anew"
    assert applying(two, "Which bus do I take?", {0: 1.0, 7: 0.9}) == 7
    assert applying(two, "Which bus do I take?", {0: 1.0, 7: 0.8}) == 0


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        ("What time does my shift finish?", "What time does my shift start?"),
        ("How many marks do I need in maths 2?", "How many marks do I need in maths 3?"),
        ("Where do I buy the buttons?", "Where do I buy the threads?"),
        ("How do I say 'remito' in Portuguese?", "How do I say 'remito' in English?"),
        ("Which medicine must I not take?", "Which medicine do I take?"),
        ("Which medicine should I avoid?", "Which medicine do I take?"),
        ("Where should I live?", "Where do I live?"),
        ("What was my dog called before?", "What is my dog called?"),
        ("When is my sister's wedding?", "Where is my sister's wedding?"),
        ("How did I meet my wife?", "Where did I meet my wife?"),
        ("How much do I owe Tom?", "How much does Tom owe me?"),
        ("When does my train leave tomorrow?", "When does my train leave?"),
        ("My flight is at noon.", "What time is my flight?"),
        ("What time is my flight?", "My flight is at noon."),
        ("¿Cómo se llama mi gato?", "¿Cómo se llama mi perro?"),
    ],
)
def test_what_differs_in_one_thing_asks_for_another(asked: str, other: str) -> None:
    corrected = [Corrected(0, other, "So it is.")]

    assert applying(corrected, asked) is None
    assert applying(corrected, asked, {0: 0.95}) is None


def test_the_newest_are_compared_and_nothing_with_what_is_not_english() -> None:
    many = [Corrected(at, f"Which of my {at} dogs is it?", "Bruno.") for at in range(COMPARED_MAX + 8)]

    assert [one.position for one in comparable(many, "What is my dog called?")] == list(range(8, len(many)))
    assert comparable(many, "หมาของฉันชื่ออะไร") == ()
    assert comparable(many, "") == ()
