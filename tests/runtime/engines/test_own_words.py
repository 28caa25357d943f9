"""What a model said in a chat is less likely in its later replies, and what the person said is not."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from populace.actors.engine import GenerateRequest, Message, Sampling
from populace.actors.tool_calls import TOOL_ROLE
from populace.engines.own_words import OwnWords, own_word_ids
from populace.engines.prompts import BaseTokenizer

CHAT = (
    Message("user", "My dog is called Bruno."),
    Message("assistant", "What a lovely dog."),
    Message("user", "And the cat is Moses."),
    Message("assistant", "A cat!"),
    Message("user", "What is 8 times 3?"),
)
TOOLS: dict[str, Any] = {"tools": [{}]}
REQUEST = GenerateRequest("one", CHAT, Sampling(own_words_penalty=1.1))


@pytest.fixture(scope="module")
def tokenizer(base_files: Path) -> Generator[BaseTokenizer, None, None]:
    tokenizer = BaseTokenizer(base_files)
    yield tokenizer
    tokenizer.close()


def test_the_words_of_all_earlier_replies_count_and_no_others(tokenizer: BaseTokenizer) -> None:
    said = own_word_ids(REQUEST, tokenizer)

    assert said == {*tokenizer.text_ids("What a lovely dog."), *tokenizer.text_ids("A cat!")}
    assert said.isdisjoint(tokenizer.text_ids("Bruno"))
    assert said.isdisjoint(tokenizer.eos_ids)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": Sampling()},
        {"prompt": CHAT[:1]},
        {"prompt": (Message("system", "Be brief."), *CHAT[:1])},
        {"prompt": CHAT[:2]},
        {"prompt": (*CHAT[:4], Message(TOOL_ROLE, "21 degrees"))},
        {"prompt": "Once upon a time"},
        {"prompt": (1, 2, 3)},
        {"keeps_to": "A medlar."},
        {"reply_ids": (1, 2)},
        {"template": TOOLS},
        {"sampling": Sampling(own_words_penalty=1.1, response_schema="{}")},
        {"sampling": Sampling(own_words_penalty=1.1, response_pattern="a+")},
    ],
    ids=str,
)
def test_they_do_not_count_where_there_are_none_or_a_reply_has_to_repeat_them(
    tokenizer: BaseTokenizer, changes: dict[str, Any]
) -> None:
    assert own_word_ids(replace(REQUEST, **changes), tokenizer) == frozenset()


def test_the_words_of_the_reply_count_as_it_grows_and_those_that_are_taken_back_do_not() -> None:
    own = OwnWords({5, 7}, 1.1)

    assert own.said([]) == [5, 7]
    assert own.said([6, 5]) == [5, 6, 7]
    assert own.said([6, 5, 9]) == [5, 6, 7, 9]
    assert own.said([4]) == [4, 5, 7]
