"""An engine that has started has made a step of each kind, and nothing is left of them."""

import pytest
from vllm.lora.worker_manager import WorkerLoRAManager
from vllm.platforms import current_platform

from populace.actors import span_names as names
from populace.engines.vllm_contract import check_contract
from populace.engines.vllm_environment import PLUGIN_VARIABLE
from populace.engines.vllm_plugin import register
from populace.engines.vllm_warm_up import warm_up_request
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


@pytest.mark.usefixtures("started")
@pytest.mark.asyncio(loop_scope="session")
async def test_vllm_fits_also_once_the_plugin_has_replaced_what_it_replaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert WorkerLoRAManager._load_adapter.__module__.startswith("populace")
    monkeypatch.setenv(PLUGIN_VARIABLE, "1")
    register()

    check_contract(on_cpu=current_platform.is_cpu())
