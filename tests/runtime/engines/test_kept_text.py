"""Which tokens a text draws a reply to: those that go on where the reply's end stands in the text."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.actors.engine import GenerateRequest, Message, Sampling
from populace.engines.kept_text import KeptText, kept_ids
from populace.engines.prompts import BaseTokenizer

END = 9
REQUEST = GenerateRequest(
    "r", (Message("user", "Which tree is it?"),), Sampling(temperature=0.0), keeps_to="A medlar."
)
TOOLS = {"tools": [{"type": "function", "function": {"name": "weather"}}]}
FEW_TOKENS = st.lists(st.integers(0, 2), max_size=12)


@pytest.fixture(scope="module")
def tokenizer(base_files: Path) -> Generator[BaseTokenizer, None, None]:
    tokenizer = BaseTokenizer(base_files)
    yield tokenizer
    tokenizer.close()


def defined(ids: Sequence[int], reply_ids: Sequence[int]) -> set[int]:
    """Return what follows by the rule as it is defined, at any cost."""
    if not reply_ids:
        return {ids[0]}

    def common(place: int) -> int:
        length = 0
        while (
            length <= place
            and length < len(reply_ids)
            and ids[place - length] == reply_ids[len(reply_ids) - 1 - length]
        ):
            length += 1
        return length

    lengths = {place: common(place) for place in range(len(ids) - 1)}
    longest = max(lengths.values(), default=0)
    return {ids[place + 1] for place, length in lengths.items() if length == longest > 0}


def test_a_text_that_is_said_from_its_beginning_goes_on_to_its_end() -> None:
    ids = (1, 2, 3, END)
    kept = KeptText(ids)

    assert [kept.following(ids[:said]) for said in range(5)] == [[1], [2], [3], [END], []]


def test_a_reply_that_comes_to_the_text_later_is_drawn_from_there() -> None:
    kept = KeptText((1, 2, 3, END))

    assert [kept.following(said) for said in ([], [7], [7, 8], [7, 8, 2])] == [[1], [], [], [3]]


def test_the_place_with_more_of_the_text_before_it_counts() -> None:
    ids = (1, 5, 2, 5, 3, END)

    assert KeptText(ids).following([1, 5]) == [2]
    assert KeptText(ids).following([7, 2, 5]) == [3]


def test_places_that_have_equally_much_before_them_all_count() -> None:
    assert KeptText((1, 5, 2, 5, 3, END)).following([7, 5]) == [2, 3]
    assert KeptText((5, 2, 7, 5, 2)).following([5]) == [2]


def test_a_text_of_one_token_is_said_once() -> None:
    kept = KeptText((4,))

    assert [kept.following(said) for said in ([], [4], [4, 4])] == [[4], [], []]


@given(ids=FEW_TOKENS.filter(bool), reply_ids=FEW_TOKENS)
def test_a_reply_read_token_by_token_or_at_once_has_what_is_defined(
    ids: list[int], reply_ids: list[int]
) -> None:
    growing = KeptText(ids)

    for said in range(len(reply_ids) + 1):
        expected = sorted(defined(ids, reply_ids[:said]))
        assert growing.following(reply_ids[:said]) == expected
        assert KeptText(ids).following(reply_ids[:said]) == expected


def test_tokens_that_are_taken_back_were_not_said() -> None:
    kept = KeptText((1, 2, 3, END))
    kept.following([1, 2])

    assert kept.following([2]) == [3]
    assert kept.following([]) == [1]


def test_a_chat_keeps_to_the_plain_text_and_then_to_an_end_of_the_base(tokenizer: BaseTokenizer) -> None:
    ids = kept_ids(REQUEST, tokenizer)

    assert tokenizer.text(ids[:-1]) == "A medlar."
    assert ids[-1] == min(tokenizer.eos_ids)
    assert not {*ids[:-1]} & tokenizer.eos_ids


def test_a_control_token_that_the_kept_text_spells_ends_no_reply(tokenizer: BaseTokenizer) -> None:
    text = "End with <|im_end|> and a newline."
    ids = kept_ids(replace(REQUEST, keeps_to=text), tokenizer)

    assert tokenizer.text(ids[:-1]) == text
    assert not {*ids[:-1]} & tokenizer.eos_ids


def test_a_reply_that_ignores_ends_is_drawn_to_none(tokenizer: BaseTokenizer) -> None:
    endless = replace(REQUEST, sampling=replace(REQUEST.sampling, ignore_eos=True))

    assert kept_ids(endless, tokenizer) == kept_ids(REQUEST, tokenizer)[:-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"keeps_to": ""},
        {"prompt": "Which tree is it?"},
        {"prompt": (1, 2, 3)},
        {"reply_ids": (1, 2)},
        {"template": TOOLS},
        {"sampling": Sampling(response_schema="{}")},
        {"sampling": Sampling(response_pattern="a+")},
    ],
    ids=str,
)
def test_nothing_draws_what_is_no_free_reply_to_a_chat(
    tokenizer: BaseTokenizer, changes: dict[str, Any]
) -> None:
    assert kept_ids(replace(REQUEST, **changes), tokenizer) == []
