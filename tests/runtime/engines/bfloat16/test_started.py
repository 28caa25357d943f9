"""An engine that has started has made a step of each kind, and nothing is left of them."""

import pytest

from populace.actors import span_names as names
from populace.engines.vllm_engine import warm_up_request
from tests.runtime.engines.bfloat16.conftest import Started

pytestmark = pytest.mark.engine


@pytest.mark.asyncio(loop_scope="session")
async def test_a_start_has_made_a_reply_of_the_base_and_one_of_an_adapter_and_has_none_any_more(
    started: Started,
) -> None:
    work = started.statistics.work

    assert [name for name in started.spans if name == names.DECODE] == [names.DECODE] * 2
    assert work is not None
    assert (work.prompt_tokens, work.generation_tokens, work.finished) == (0, 0, {})
    assert (started.statistics.running, started.held.hot, started.held.warm) == (0, (), ())
    assert not [name for name in started.files if name.startswith("populace-warm-up-")]


def test_the_warm_up_asks_for_the_likelihood_of_the_prompt_and_of_the_reply() -> None:
    asked = warm_up_request(256, with_memory=True)

    assert (asked.sampling.logprobs, asked.sampling.prompt_logprobs) == (1, 1)
    assert asked.memory is not None
