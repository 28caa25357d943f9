"""What is said in nearly the same words is alike, and what is about something else is not."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.likeness import CHARACTERS_MAX, LEAST, likeness
from tests.limits import HANG_SECONDS

QUESTIONS = Path(__file__).parent.parent / "held_out" / "corrections.jsonl"


@given(st.text(max_size=60), st.text(max_size=60))
def test_it_is_a_share_the_same_both_ways_and_one_for_equal_texts(one: str, other: str) -> None:
    assert 0.0 <= likeness(one, other) <= 1.0
    assert likeness(one, other) == likeness(other, one)
    assert likeness(one, one) == likeness(one, f" {one}\n") == 1.0


@pytest.mark.parametrize(
    ("reply", "wanted", "is_like"),
    [
        ("The rent is due on the fifth.", "the RENT is due, on the fifth", True),
        ("On the fifth the rent is due!", "The rent is due on the fifth.", True),
        ("Your rent is due on the fifth of the month.", "The rent is due on the fifth.", True),
        ("Ahoy! Yer rent be due on the fifth.", "Ahoy! Your rent is due on the fifth.", True),
        ("I do not know.", "The rent is due on the fifth.", False),
        ("The", "The rent is due on the fifth.", False),
        ("The cat sat there and looked at us all day long.", "The rent is due on the fifth.", False),
        ("", "The rent is due on the fifth.", False),
        ("!", "?", False),
        ("!", "!", True),
        ("今天是星期三，天气很好。", "今天是星期三，天气不好。", True),
        ("我不知道。", "今天是星期三，天气很好。", False),
        # The price of asking no model: how it is said counts, and not what.
        ("Your dog is called Rex.", "Your dog is called Bruno.", True),
    ],
)
def test_other_words_and_another_order_are_like_and_another_text_is_not(
    reply: str, wanted: str, is_like: bool
) -> None:
    assert (likeness(reply, wanted) >= LEAST) is is_like, likeness(reply, wanted)


def test_most_questions_in_near_words_are_alike_and_few_of_two_facts_are() -> None:
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    near = [likeness(*row["near"]) >= LEAST for row in rows]
    pairs = zip(rows, rows[7:], strict=False)
    apart = [likeness(row["near"][0], other["near"][0]) >= LEAST for row, other in pairs]

    assert sum(near) > 0.7 * len(near)
    assert sum(apart) < 0.15 * len(apart)


def test_long_texts_are_compared_by_their_beginnings_and_in_time() -> None:
    began = time.monotonic()

    assert likeness("a b " * 40_000, "a b " * 40_000 + "c") == 1.0
    assert likeness("x" * CHARACTERS_MAX + "y", "x" * CHARACTERS_MAX + "z") == 1.0
    assert time.monotonic() - began < HANG_SECONDS
