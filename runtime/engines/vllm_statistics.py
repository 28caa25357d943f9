# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Takes the statistics of vLLM's scheduler and of its requests, and adds them up.

vLLM's own collector would keep a series in its process for each set of adapters that were ever used at once,
under their names. This one keeps a fixed set of numbers.
"""

from vllm.config import VllmConfig
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import (
    FinishedRequestStats,
    IterationStats,
    MultiModalCacheStats,
    SchedulerStats,
)

from populace.actors.engine_work import CacheWork, EngineWork
from populace.engines.work_counter import WorkCounter


class VllmStatistics(PrometheusStatLogger):
    """Gets what vLLM records after each step, on the event loop of its engine.

    It is of vLLM's Prometheus class because vLLM adds that one by itself unless it is given one.
    """

    def __init__(self, vllm_config: VllmConfig, engine_indexes: list[int] | None = None) -> None:
        # Not the base's: it makes the series, and nothing else that is used here.
        del vllm_config, engine_indexes
        self.restart()

    def restart(self) -> None:
        """Begin to count anew."""
        self.counter = WorkCounter()
        self._used_shares: dict[int, float] = {}
        self._query_tokens = self._hit_tokens = self._preemptions = 0

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: MultiModalCacheStats | None = None,
        engine_idx: int = 0,
    ) -> None:
        """Add a step's numbers: of its scheduler, and of the requests that had a token or ended in it."""
        if scheduler_stats is not None:
            self._used_shares[engine_idx] = scheduler_stats.kv_cache_usage
            self._query_tokens += scheduler_stats.prefix_cache_stats.queries
            self._hit_tokens += scheduler_stats.prefix_cache_stats.hits
        if iteration_stats is None:
            return
        self._preemptions += iteration_stats.num_preempted_reqs
        self.counter.prompt_tokens += iteration_stats.num_prompt_tokens
        self.counter.generation_tokens += iteration_stats.num_generation_tokens
        for seconds in iteration_stats.time_to_first_tokens_iter:
            self.counter.first_token.add(seconds)
        for seconds in iteration_stats.inter_token_latencies_iter:
            self.counter.between_tokens.add(seconds)
        for request in iteration_stats.finished_requests:
            self._finished(request)

    def log_engine_initialized(self) -> None:
        """Do nothing: the base would show vLLM's configuration as a series."""

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        """Do nothing: the engine is never put to sleep."""

    def record_admission_rejection(self, reason: str) -> None:
        """Do nothing: the gate before vLLM counts what it refuses."""

    def work(self) -> EngineWork:
        cache = CacheWork(
            used_share=max(self._used_shares.values(), default=0.0),
            query_tokens=self._query_tokens,
            hit_tokens=self._hit_tokens,
            preemptions=self._preemptions,
        )
        return self.counter.snapshot(cache)

    def _finished(self, request: FinishedRequestStats) -> None:
        work = self.counter
        work.finished[str(request.finish_reason)] += 1
        work.queue.add(request.queued_time)
        work.prefill.add(request.prefill_time)
        work.decode.add(request.decode_time)
        work.whole.add(request.e2e_latency)
        if request.num_generation_tokens > 1:
            work.per_token.add(request.mean_time_per_output_token)


def statistics_of(llm: AsyncLLM) -> VllmStatistics:
    """Return the one that the engine was started with; see ``start_process``."""
    assert llm.logger_manager is not None, "it was started with one"
    [statistics] = [found for found in llm.logger_manager.stat_loggers if isinstance(found, VllmStatistics)]
    return statistics
