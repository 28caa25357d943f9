"""What a model said in a chat is less likely in its later replies, and what the person said is not."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from populace.actors.engine import GenerateRequest, Message, Sampling
from populace.actors.tool_calls import TOOL_ROLE
from populace.engines.own_words import FREE_TOKENS, GROWTH, LOGIT_MAX, OwnWords, own_word_ids
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
def test_they_do_not_count_where_a_reply_has_to_repeat_them(
    tokenizer: BaseTokenizer, changes: dict[str, Any]
) -> None:
    assert own_word_ids(replace(REQUEST, **changes), tokenizer) is None


@pytest.mark.parametrize("prompt", [CHAT[:1], (Message("system", "Be brief."), *CHAT[:1])])
def test_the_first_reply_of_a_chat_has_no_words_of_earlier_ones(
    tokenizer: BaseTokenizer, prompt: tuple[Message, ...]
) -> None:
    assert own_word_ids(replace(REQUEST, prompt=prompt), tokenizer) == frozenset()


def penalised_by(own: OwnWords, reply_ids: list[int]) -> list[int]:
    logits_V = own.changed(torch.ones(16), reply_ids)
    return [token_id for token_id, logit in enumerate(logits_V.tolist()) if logit < 1]


def test_the_words_of_the_reply_count_as_it_grows_and_those_that_are_taken_back_do_not() -> None:
    own = OwnWords({5, 7}, 1.1)

    assert penalised_by(own, []) == [5, 7]
    assert penalised_by(own, [6, 5]) == [5, 6, 7]
    assert penalised_by(own, [6, 5, 9]) == [5, 6, 7, 9]
    assert penalised_by(own, [4]) == [4, 5, 7]
    assert penalised_by(OwnWords((), 1.1), [6, 5, 9]) == []


PASSAGE = list(range(20, 20 + FREE_TOKENS + 3))


def test_each_token_that_lengthens_a_passage_of_the_reply_costs_more_than_the_one_before() -> None:
    own, reply = OwnWords((), 1.1), [1, *PASSAGE, 2]

    costs = [own.costs(reply + PASSAGE[:again]) for again in range(len(PASSAGE) + 1)]

    assert costs[:FREE_TOKENS] == [{}] * FREE_TOKENS, "a short one may come again"
    assert costs[FREE_TOKENS:] == [
        {PASSAGE[FREE_TOKENS]: 1.0},
        {PASSAGE[FREE_TOKENS + 1]: GROWTH},
        {PASSAGE[FREE_TOKENS + 2]: GROWTH**2},
        {2: GROWTH**3},
    ]
    assert own.costs([*reply, *PASSAGE, 3]) == {}, "it went on in another way"
    assert own.costs(reply) == {}, "an engine took tokens back"


def test_a_word_that_comes_again_and_again_costs_more_each_time() -> None:
    own = OwnWords((), 1.1)

    costs = [own.costs([9] * (FREE_TOKENS + more)).get(9, 0.0) for more in (0, 1, 3, 1000)]

    assert costs == [0.0, 1.0, GROWTH**2, LOGIT_MAX]
