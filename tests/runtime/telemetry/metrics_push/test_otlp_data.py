"""Prometheus' families as OpenTelemetry's data, as its specification for Prometheus compatibility says."""

from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Sum
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from populace.telemetry.metrics_push.push import Beginnings, snapshot

NOTHING: Beginnings = {}


def turns(count: float, host: str = "0") -> CounterMetricFamily:
    family = CounterMetricFamily("populace_host_turns", "Turns", labels=["host"])
    family.add_metric([host], count)
    return family


def start_of(count: float, time_ns: int, before: Beginnings) -> tuple[int, Beginnings]:
    """When a counter with this count is said to have begun."""
    (metric,), beginnings = snapshot([turns(count)], time_ns, before)
    assert isinstance(metric.data, Sum)
    (point,) = metric.data.data_points
    assert (point.value, point.time_unix_nano) == (count, time_ns)
    return point.start_time_unix_nano, beginnings


def test_a_counter_is_a_monotonic_sum_of_the_same_name() -> None:
    (metric,), _ = snapshot([turns(3)], 5, NOTHING)

    assert (metric.name, metric.description) == ("populace_host_turns_total", "Turns")
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
    assert metric.data.data_points[0].attributes == {"host": "0"}


def test_a_counter_of_unknown_age_begins_without_a_duration_and_goes_on_from_there() -> None:
    first, beginnings = start_of(7, 10, NOTHING)
    second, beginnings = start_of(9, 20, beginnings)
    third, beginnings = start_of(2, 30, beginnings)  # its process was restarted
    fourth, _ = start_of(2, 40, beginnings)

    assert (first, second, third, fourth) == (10, 10, 30, 30)


def test_what_did_not_arrive_says_again_where_it_begins() -> None:
    lost, _ = start_of(7, 10, NOTHING)
    again, _ = start_of(9, 20, NOTHING)

    assert (lost, again) == (10, 20)


def test_a_counter_that_says_since_when_it_counts_is_believed() -> None:
    registry = CollectorRegistry()
    counter = Counter("turns", "Turns", registry=registry)
    counter.inc()
    (family,) = registry.collect()
    (created,) = [sample.value for sample in family.samples if sample.name == "turns_created"]

    (metric,), _ = snapshot([family], 5, NOTHING)

    assert isinstance(metric.data, Sum)
    (point,) = metric.data.data_points
    assert point.start_time_unix_nano == int(created * 1e9)


def test_of_a_series_that_is_gone_nothing_is_kept() -> None:
    _, beginnings = snapshot([turns(1, "0"), turns(1, "1")], 10, NOTHING)
    _, later = snapshot([turns(2, "1")], 20, beginnings)

    assert (len(beginnings), len(later)) == (2, 1)


def test_a_gauge_stays_one_and_its_unit_is_that_of_its_name() -> None:
    families = [
        GaugeMetricFamily("populace_file_bytes", "Bytes", value=2),
        GaugeMetricFamily("populace_engine_kv_used_ratio", "A share", value=0.5),
        GaugeMetricFamily("populace_hosts_configured", "Hosts", value=1),
        CounterMetricFamily("populace_process_cpu_seconds", "Time", value=1),
        GaugeMetricFamily("populace_unknown", "Nothing is known", labels=["host"]),
    ]

    metrics, beginnings = snapshot(families, 5, NOTHING)

    assert [metric.unit for metric in metrics] == ["By", "1", "", "s"]
    assert isinstance(metrics[0].data, Gauge)
    assert len(beginnings) == 1


def test_a_histogram_counts_each_bucket_for_itself() -> None:
    family = HistogramMetricFamily("populace_reply_seconds", "Replies", labels=["host"])
    family.add_metric(["0"], [("0.1", 2), ("1.0", 2), ("+Inf", 5)], 12.5)

    (metric,), _ = snapshot([family], 5, NOTHING)

    assert isinstance(metric.data, Histogram)
    (point,) = metric.data.data_points
    assert (point.count, point.sum) == (5, 12.5)
    assert (point.explicit_bounds, point.bucket_counts) == ([0.1, 1.0], [2, 0, 3])
    assert (point.attributes, point.start_time_unix_nano) == ({"host": "0"}, 5)
