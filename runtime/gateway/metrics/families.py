"""Families of series that are made of reports, whose labels are few and known."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from populace.storage.records.durations import BOUNDS_S, DurationCounts

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge"]

LE = (*(str(bound) for bound in BOUNDS_S), "+Inf")


def family(
    kind: Kind, name: str, text: str, labels: Iterable[str], values: Mapping[Labels, float | None]
) -> Metric:
    """Make a family with a sample for each known value, by its labels' values."""
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
    made = kinds[kind](name, text, labels=tuple(labels))
    for key, value in values.items():
        if value is not None:
            made.add_metric(key, value)
    return made


def histogram(
    name: str, text: str, labels: Iterable[str], values: Mapping[Labels, DurationCounts | None]
) -> Metric:
    """Make a family of durations, in seconds."""
    made = HistogramMetricFamily(name, text, labels=tuple(labels))
    for key, value in values.items():
        if value is not None:
            below = accumulate(value.counts)
            made.add_metric(key, list(zip(LE, below, strict=True)), value.sum_s)
    return made
