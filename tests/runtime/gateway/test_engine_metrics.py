"""What engines report is shown under Populace's names, and if it is wanted under vLLM's."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from populace.actors.engine import BaseInfo, EngineReport, EngineStatistics
from populace.actors.engine_work import CacheWork, EngineWork
from populace.actors.hosts_report import HostsReport
from populace.gateway.http.metrics import GatewayMetrics
from populace.gateway.metrics.of_processes import ServedFacts
from populace.gateway.metrics.reported import Reports
from populace.storage.records.durations import BOUNDS_S
from tests.runtime.gateway.test_operations import samples_of, spent

BASE = "Small-Base"
QUEUES = {
    "vllm:num_requests_running": 2,
    "vllm:num_requests_waiting": 5,
    "vllm:kv_cache_usage_perc": 0.5,
    "vllm:prefix_cache_queries_total": 100,
    "vllm:prefix_cache_hits_total": 40,
    "vllm:num_preemptions_total": 3,
    "vllm:prompt_tokens_total": 70,
    "vllm:generation_tokens_total": 30,
}


def work(cache: CacheWork | None) -> EngineWork:
    """What an engine did that read 70 tokens and chose 30; each kind of time is there once."""
    return EngineWork(
        prompt_tokens=70,
        generation_tokens=30,
        finished={"stop": 4, "length": 1},
        queue=spent(0.01),
        prefill=spent(0.02),
        decode=spent(3.0),
        first_token=spent(0.04),
        whole=spent(3.05),
        between_tokens=spent(0.1),
        per_token=spent(0.12),
        memory_refused=2,
        cache=cache,
    )


def rendered(cache: CacheWork | None, *, vllm_names: bool = False) -> str:
    engine = EngineStatistics(2, 5, adapters_hot=1, adapter_slots=4, work=work(cache))
    metrics = GatewayMetrics(ServedFacts(BaseInfo(BASE, "f" * 64, 2048), vllm_names=vllm_names))
    return metrics.render(Reports(HostsReport(()), EngineReport({1: engine}))).decode()


def test_the_work_of_an_engine_is_shown_by_replica() -> None:
    samples = samples_of(rendered(CacheWork(0.5, 100, 40, 3)))

    assert samples["populace_engine_generation_tokens_total", ("1",)] == 30
    assert samples["populace_engine_prompt_tokens_total", ("1",)] == 70
    assert samples["populace_engine_finished_total", ("stop", "1")] == 4
    assert samples["populace_engine_kv_used_ratio", ("1",)] == 0.5
    assert samples["populace_memory_refused_total", ("1",)] == 2
    assert samples["populace_engine_prefix_query_tokens_total", ("1",)] == 100
    assert samples["populace_engine_prefix_hit_tokens_total", ("1",)] == 40
    assert samples["populace_engine_preemptions_total", ("1",)] == 3
    assert samples["populace_engine_decode_seconds_sum", ("1",)] == 3.0
    assert not any(name.startswith("vllm:") for name, _ in samples)


def test_a_histogram_counts_in_each_class_what_is_no_longer() -> None:
    samples = samples_of(rendered(None))

    below = [samples["populace_engine_prefill_seconds_bucket", (str(bound), "1")] for bound in BOUNDS_S]
    assert below == [float(bound >= 0.02) for bound in BOUNDS_S]
    assert samples["populace_engine_prefill_seconds_bucket", ("+Inf", "1")] == 1
    assert samples["populace_engine_prefill_seconds_count", ("1",)] == 1


def test_an_engine_without_a_cache_shows_none() -> None:
    names = {name for name, _ in samples_of(rendered(None, vllm_names=True))}

    assert "populace_engine_generation_tokens_total" in names
    cache = {"populace_engine_kv_used_ratio", "populace_engine_preemptions_total", "vllm:kv_cache_usage_perc"}
    assert not cache & names


def test_dashboards_that_know_vllm_find_its_names_and_labels() -> None:
    text = rendered(CacheWork(0.5, 100, 40, 3), vllm_names=True)

    samples = samples_of(text)
    assert {name: samples[name, ("1", BASE)] for name in QUEUES} == QUEUES
    assert samples["vllm:request_success_total", ("1", "length", BASE)] == 1
    assert samples["vllm:time_to_first_token_seconds_sum", ("1", BASE)] == 0.04
    assert samples["vllm:e2e_request_latency_seconds_count", ("1", BASE)] == 1
    labels = {
        tuple(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("vllm:")
    }
    assert labels == {
        ("engine", "model_name"),
        ("engine", "finished_reason", "model_name"),
        ("engine", "le", "model_name"),
    }


def test_each_of_vllms_names_is_one_that_vllm_has() -> None:
    pytest.importorskip("vllm")
    import vllm.v1.metrics.loggers

    source = Path(vllm.v1.metrics.loggers.__file__).read_text()
    ours = {family.name for family in text_string_to_metric_families(rendered(None, vllm_names=True))}

    shown = {name for name in ours if name.startswith("vllm:")}
    assert len(shown) == 16
    assert [name for name in sorted(shown) if f'name="{name}"' not in source] == []
