"""Which token is chosen from given logits, by each parameter alone; vLLM's definitions."""

import math
from collections import Counter
from typing import Any

import pytest
import torch

from populace.actors.engine import Sampling
from populace.engines.torch_batch import TokenChooser, prompt_logprobs

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0])


def chooser(sampling: Sampling, **more: Any) -> TokenChooser:
    return TokenChooser(sampling, str, **more)


def greedy(count: int, *, more: dict[str, Any] | None = None, **options: Any) -> list[int]:
    choosing = chooser(Sampling(temperature=0.0, **options), **(more or {}))
    return [choosing.choose(LOGITS)[0] for _ in range(count)]


def drawn(**options: Any) -> Counter[int]:
    choosing = chooser(Sampling(seed=1, **options))
    return Counter(choosing.choose(LOGITS)[0] for _ in range(400))


def test_a_bias_is_added_to_the_logits() -> None:
    assert greedy(1, logit_bias=((3, 3.5), (0, -1.0))) == [3]
    assert greedy(1, logit_bias=((3, 2.5),)) == [0]


def test_only_allowed_tokens_are_chosen() -> None:
    assert greedy(2, allowed_token_ids=(3, 2)) == [2, 2]


def test_a_reply_is_drawn_along_the_text_that_it_keeps_to() -> None:
    assert greedy(4, more={"kept_ids": [3, 2, 1]}) == [3, 2, 1, 0]
    assert greedy(2, more={"kept_ids": [3, 2, 1]}, logit_bias=((0, 18.0),)) == [0, 0]


def test_what_may_not_be_chosen_is_not_chosen_for_a_text() -> None:
    assert greedy(1, allowed_token_ids=(1, 2), more={"kept_ids": [3]}) == [1]
    assert greedy(2, min_tokens=2, more={"kept_ids": [2, 3], "end_ids": [3]}) == [2, 0]


def test_a_repetition_penalty_counts_the_prompt_and_the_reply() -> None:
    assert greedy(4, repetition_penalty=3.0) == [0, 1, 0, 0]
    assert greedy(1, repetition_penalty=3.0, more={"prompt_ids": [0]}) == [1]


def test_a_repetition_penalty_makes_what_is_unlikely_less_likely_too() -> None:
    choosing = chooser(Sampling(temperature=0.0, repetition_penalty=2.0), prompt_ids=[0])
    assert choosing.choose(torch.tensor([-1.0, -1.5]))[0] == 1


def test_a_penalty_on_own_words_counts_earlier_replies_and_the_reply() -> None:
    assert greedy(3, own_words_penalty=3.0, more={"own_word_ids": [0]}) == [1, 0, 0]
    assert greedy(3, own_words_penalty=3.0, more={"own_word_ids": [1], "prompt_ids": [0]}) == [0, 0, 0]
    assert greedy(3, own_words_penalty=3.0) == [0, 0, 0], "a first reply has no earlier one"


def test_a_bad_word_is_not_completed() -> None:
    assert greedy(3, more={"bad_word_ids": [[0]]}) == [1, 1, 1]
    assert greedy(3, more={"bad_word_ids": [[0, 0]]}) == [0, 1, 0]


def test_nothing_ends_a_reply_before_its_least_length() -> None:
    assert greedy(3, min_tokens=2, more={"end_ids": [0]}) == [1, 1, 0]


def test_something_is_chosen_even_if_everything_is_barred() -> None:
    sampling = Sampling(seed=1, min_tokens=9, allowed_token_ids=(2,))

    assert chooser(sampling, end_ids=[2]).choose(LOGITS)[0] == 2


def test_min_p_leaves_out_what_is_less_likely_than_its_share_of_the_likeliest() -> None:
    # The likelihoods are as 1 : 0.37 : 0.14 : 0.05.
    assert drawn(min_p=0.3).keys() == {0, 1}
    assert drawn(min_p=0.1).keys() == {0, 1, 2}
    assert drawn(min_p=1.0).keys() == {0}


def test_a_temperature_near_zero_is_like_zero() -> None:
    assert drawn(temperature=1e-300).keys() == {0}


def test_log_probabilities_are_the_models_own_before_all_of_that() -> None:
    biased = chooser(Sampling(temperature=0.0, logprobs=1, logit_bias=((3, 100.0),)))
    drawn = chooser(Sampling(temperature=0.0, logprobs=1), kept_ids=[3])

    for choosing in (biased, drawn):
        _, row = choosing.choose(LOGITS)
        assert row is not None
        assert row.logprob == pytest.approx(float(torch.log_softmax(LOGITS, 0)[3]))
        assert [entry[0] for entry in row.top] == [0]


@pytest.mark.parametrize("tokens", [1, 2, 600])
def test_each_token_of_a_prompt_is_scored_by_what_comes_before_it(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits_TV = torch.randn(tokens, 5, generator=generator)
    ids = [at % 5 for at in range(tokens)]

    rows = prompt_logprobs(logits_TV, ids, 2, str)

    assert [row.token_id for row in rows] == ids[1:]
    expected = torch.log_softmax(logits_TV, 1)
    assert all(
        math.isclose(row.logprob, float(expected[at, row.token_id]), rel_tol=1e-5)
        for at, row in enumerate(rows)
    )
