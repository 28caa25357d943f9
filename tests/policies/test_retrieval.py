"""What a turn is found by, which turns never come, and how those that come stand in a prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.history import CHARACTERS_PER_TOKEN
from populace.policies.ingestion import ADDED_ROLE, turn_digest, turns_in
from populace.policies.lessons import Judgement
from populace.policies.retrieval import (
    QUERY_WORDS_MAX,
    TEXT_CHARACTERS_MAX,
    TURN_WORDS_MAX,
    WORD_CHARACTERS,
    Exchange,
    Retrieval,
    context_text,
    exchange_of,
    exchanges_that_fit,
    spoken_in,
    turn_words,
    words_of,
)

NOBODY_SAID = Judgement()
ASKED = (("user", "Which dog is mine?"),)


def exchange(position: int, said: str = "said", answered: str = "answered") -> Exchange:
    return Exchange(position, said, answered, b"turn %d" % position)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("My dog's name: BRUNO!", ["my", "dog", "s", "name", "bruno"]),
        ("Zażółć GĘŚLĄ jaźń", ["zażółć", "gęślą", "jaźń"]),
        ("Straße ＦＵＬＬ ﬁne", ["strasse", "full", "fine"]),
        ("Cafe\u0301", ["café"]),
        ("Где мой пёс?", ["где", "мой", "пёс"]),
        ("犬の名前", ["犬", "の", "名", "前"]),
        ("私のdogです", ["私", "の", "dog", "で", "す"]),
        ("7:40 on 2026-11-26", ["7", "40", "on", "2026", "11", "26"]),
        ("मेरी बेटी का नाम", ["मेरी", "बेटी", "का", "नाम"]),
        ("🙂 … — !?", []),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_digits_of_any_script(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_turn_asks_with_the_last_message_of_its_user() -> None:
    messages = (("user", "first"), ("assistant", "reply"), ("user", "Second, second!"), ("system", "rule"))

    wanted = Retrieval.of(messages, 3)

    known = frozenset({turn_digest((("user", "first"),), "reply")})
    assert wanted == Retrieval(("second",), 3, known, asked="Second, second!")


@pytest.mark.parametrize(
    ("messages", "count"),
    [(ASKED, 0), ((("user", "?!"),), 3), ((("system", "rule"),), 3), ((("user", ""),), 3), ((), 3)],
)
def test_nothing_is_asked_for_without_words_or_a_count(
    messages: tuple[tuple[str, str], ...], count: int
) -> None:
    assert Retrieval.of(messages, count) is None


def test_of_a_long_question_the_last_words_count_and_of_a_long_turn_the_first() -> None:
    text = " ".join(f"w{number}" for number in range(2 * TURN_WORDS_MAX))

    wanted = Retrieval.of((("user", text),), 1)

    assert wanted is not None
    assert len(wanted.words) == QUERY_WORDS_MAX
    assert wanted.words[-1] == f"w{2 * TURN_WORDS_MAX - 1}"
    assert turn_words((("user", text),), "reply", NOBODY_SAID)[-1] == f"w{TURN_WORDS_MAX - 1}"


def test_a_text_of_megabytes_is_not_split_whole() -> None:
    text = "first " + "x" * 10**6 + " last"

    wanted = Retrieval.of((("user", text),), 1)

    assert wanted is not None
    assert [len(word) for word in wanted.words] == [QUERY_WORDS_MAX * WORD_CHARACTERS - len(" last"), 4]
    first, long = turn_words((("user", text),), "reply", NOBODY_SAID)
    assert (first, len(long)) == ("first", TURN_WORDS_MAX * WORD_CHARACTERS - len("first "))


def test_a_turn_is_found_by_what_its_user_said_in_it_and_by_its_reply() -> None:
    whole = (("system", "rule"), ("user", "before"), ("assistant", "then"), ("user", "now"))

    assert turn_words(whole, "Reply.", NOBODY_SAID) == ["now", "reply"]
    assert turn_words(whole, "Reply.", Judgement(liked=False, correction="Better.")) == ["now", "better"]


@pytest.mark.parametrize("role", ["memory", "text", "system"])
def test_what_is_no_conversation_is_not_found_and_never_comes(role: str) -> None:
    assert turn_words(((role, "words"),), "reply", NOBODY_SAID) == []
    assert exchange_of(0, ((role, "words"),), "reply", NOBODY_SAID) is None


@pytest.mark.parametrize(
    ("judged", "answered"),
    [
        (Judgement(), "reply"),
        (Judgement(liked=True), "reply"),
        (Judgement(reward=-1.0), "reply"),
        (Judgement(correction="Bruno."), "Bruno."),
        (Judgement(liked=False, correction="Bruno."), "Bruno."),
        (Judgement(liked=False), "reply"),
    ],
)
def test_a_turn_comes_with_its_correction_however_it_was_judged(judged: Judgement, answered: str) -> None:
    found = exchange_of(4, ASKED, "reply", judged)

    assert found is not None
    assert (found.position, found.said, found.answered) == (4, "Which dog is mine?", answered)


def test_a_turn_is_known_by_the_conversation_that_it_is_sent_along_in() -> None:
    found = exchange_of(0, ASKED, "Bruno.", Judgement(correction="Bruno, the terrier."))
    sent = (("system", "rule"), ("user", "a"), ("assistant", "b"), *ASKED, ("assistant", "Bruno. "), *ASKED)

    assert found is not None
    assert found.turn in turns_in(sent)
    assert turns_in(ASKED) == frozenset()


def test_the_best_that_are_not_known_come_in_the_logs_order() -> None:
    found = [exchange(7), exchange(2), exchange(5), exchange(1)]

    chosen = exchanges_that_fit(found, {exchange(2).turn}, count=2, tokens_max=1000)

    assert [one.position for one in chosen] == [5, 7]


def test_one_that_is_too_long_makes_way_for_the_next() -> None:
    found = [exchange(0, "x" * 500), exchange(1)]

    assert [one.position for one in exchanges_that_fit(found, (), count=2, tokens_max=100)] == [1]
    assert exchanges_that_fit(found, (), count=2, tokens_max=0) == []


def test_of_a_long_text_the_beginning_is_told() -> None:
    found = exchange_of(0, (("user", "x" * 10_000),), "y" * 10_000, NOBODY_SAID)

    assert found is not None
    assert found.said == "x" * TEXT_CHARACTERS_MAX + " …"
    assert found.answered == "y" * TEXT_CHARACTERS_MAX + " …"


@given(st.lists(st.integers(0, 400), max_size=20), st.integers(0, 500), st.integers(0, 16))
def test_what_is_told_fits_whatever_is_found(lengths: list[int], tokens_max: int, count: int) -> None:
    found = [exchange(position, "x" * length) for position, length in enumerate(lengths)]

    chosen = exchanges_that_fit(found, (), count=count, tokens_max=tokens_max)

    assert len(context_text(chosen)) <= tokens_max * CHARACTERS_PER_TOKEN
    assert len(chosen) <= count


def test_what_was_added_by_hand_was_said_by_nobody() -> None:
    said = (("user", "My city is Ghent."), ("assistant", "Noted."), ("user", "My dog is Bruno."))

    assert spoken_in(said) == ["My dog is Bruno."]
    assert spoken_in(((ADDED_ROLE, ""), *said)) == []
