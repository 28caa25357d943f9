# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""What vLLM records after its steps is added up, in vLLM's own classes and without a series of its own."""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm")

from prometheus_client import REGISTRY
from vllm.v1.engine import FinishReason
from vllm.v1.metrics.loggers import StatLoggerManager
from vllm.v1.metrics.stats import FinishedRequestStats, IterationStats, PrefixCacheStats, SchedulerStats

from populace.engines.vllm_statistics import VllmStatistics, statistics_of

pytestmark = pytest.mark.engine


def started() -> Any:
    """An engine that has its collectors as ``AsyncLLM`` makes them; it needs no configuration for ours."""
    configuration: Any = None
    manager = StatLoggerManager(
        configuration, custom_stat_loggers=[VllmStatistics], enable_default_loggers=False
    )
    return SimpleNamespace(logger_manager=manager)


def a_step(*finished: FinishedRequestStats) -> IterationStats:
    step = IterationStats()
    step.num_generation_tokens = 3
    step.num_preempted_reqs = 1
    step.prompt_token_stats.total = 40
    step.time_to_first_tokens_iter = [0.2]
    step.inter_token_latencies_iter = [0.01, 0.02]
    step.finished_requests = list(finished)
    return step


def test_the_numbers_of_all_steps_are_added_up() -> None:
    llm = started()
    statistics = statistics_of(llm)
    scheduler = SchedulerStats(
        kv_cache_usage=0.25, prefix_cache_stats=PrefixCacheStats(requests=1, queries=40, hits=16)
    )
    ended = FinishedRequestStats(
        FinishReason.LENGTH,
        e2e_latency=1.0,
        num_generation_tokens=4,
        queued_time=0.1,
        prefill_time=0.2,
        decode_time=0.6,
        mean_time_per_output_token=0.2,
    )

    llm.logger_manager.record(scheduler, a_step(ended))
    llm.logger_manager.record(scheduler, a_step())
    llm.logger_manager.record(SchedulerStats(kv_cache_usage=0.5), None)

    work = statistics.work()
    assert work.cache is not None
    assert (work.prompt_tokens, work.generation_tokens, work.finished) == (80, 6, {"length": 1})
    assert work.cache._asdict() == {
        "used_share": 0.5,
        "query_tokens": 80,
        "hit_tokens": 32,
        "preemptions": 2,
    }
    sums = [work.queue.sum_s, work.prefill.sum_s, work.decode.sum_s, work.whole.sum_s, work.per_token.sum_s]
    assert sums == [0.1, 0.2, 0.6, 1.0, 0.2]
    assert (work.first_token.total, work.between_tokens.total) == (2, 4)


def test_a_request_of_one_token_has_no_time_between_two() -> None:
    llm = started()

    llm.logger_manager.record(None, a_step(FinishedRequestStats(FinishReason.STOP, num_generation_tokens=1)))

    assert statistics_of(llm).work().per_token.total == 0


def test_what_warmed_the_engine_up_is_not_counted() -> None:
    llm = started()
    llm.logger_manager.record(SchedulerStats(kv_cache_usage=0.5), a_step())

    statistics_of(llm).restart()

    work = statistics_of(llm).work()
    assert (work.generation_tokens, work.first_token.total) == (0, 0)
    assert work.cache is not None
    assert work.cache.preemptions == 0


def test_vllm_keeps_no_series_in_its_process() -> None:
    """Its own would grow by one with each set of adapters that are in use together."""
    llm = started()
    adapters = SchedulerStats(running_lora_adapters={"digest": 1})

    llm.logger_manager.log_engine_initialized()
    llm.logger_manager.record(adapters, a_step())
    llm.logger_manager.record_sleep_state()
    llm.logger_manager.record_admission_rejection("max_num_queued_reqs")

    assert [family.name for family in REGISTRY.collect() if family.name.startswith("vllm")] == []
