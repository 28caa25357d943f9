import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.questions import is_question, told_in


@pytest.mark.parametrize(
    "text",
    [
        "What is my dog called?",
        "Hi Ada! What is my dog called?",
        "And my cat? And my dog?  ",
        "what do people call me",
        "and where's my flat",
        "Tell me the name of my dog.",
        "do you know my dog’s name",
        "我的狗叫什么名字？",
        "ما اسم كلبي؟",
    ],
)
def test_a_message_that_only_asks_is_a_question(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "My dog is called Bruno.",
        "My dog is called Bruno. Is that not nice?",
        "Is it late? I am tired.",
        f"Is this {'very ' * 100}long?",
        f"what is this {'very ' * 100}long thing",
        "when I was a child I lived in Rome",
        "What a day. My dog is called Bruno.",
        "where my flat is there are three bakeries",
        "tell my sister that I moved",
    ],
)
def test_what_tells_something_or_is_long_is_none(text: str) -> None:
    assert not is_question(text)


def test_what_is_asked_is_not_told() -> None:
    assert told_in("My dog is called Bruno. Is that not nice?").strip() == "My dog is called Bruno."


@given(st.text("a .!?\n"))
def test_what_is_told_is_all_but_the_sentences_that_end_with_their_mark(text: str) -> None:
    sentences = re.findall(r"[^.!?\n]*[.!?\n]?", text)

    assert told_in(text) == "".join(" " if said.endswith("?") else said for said in sentences)


def test_a_long_text_without_a_mark_is_read_in_no_time() -> None:
    began = time.process_time()
    assert told_in("a" * 2**20) == "a" * 2**20
    assert time.process_time() - began < 5  # 0.02 s; by letters squared it would be half an hour
