"""A prompt that does not fit says how long it is, or how long at least where it was not counted."""

import pickle

import pytest

from populace.actors.engine import Sampling
from populace.actors.errors import PromptTooLong
from populace.engines.sampling import reply_tokens_max


@pytest.mark.parametrize(("at_least", "needs"), [(True, "needs at least 3970"), (False, "needs 3970")])
def test_a_prompt_that_was_not_counted_needs_so_many_tokens_at_least(at_least: bool, needs: str) -> None:
    with pytest.raises(PromptTooLong) as refused:
        reply_tokens_max(3950, Sampling(max_tokens=20), 2048, at_least=at_least)

    told = f"{needs} (3950 in the prompt, 20 for the reply). Shorten the prompt"
    assert told in str(refused.value)
    assert told in str(refused.value.named("prompt", "max_tokens"))
    assert told in str(pickle.loads(pickle.dumps(refused.value)))


def test_the_reply_has_what_the_prompt_leaves() -> None:
    assert reply_tokens_max(2000, Sampling(), 2048) == 48
    assert reply_tokens_max(2000, Sampling(max_tokens=48), 2048) == 48
