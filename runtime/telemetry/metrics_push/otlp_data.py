"""Makes OpenTelemetry's data of Prometheus' families.

It follows "Prometheus Metric points to OTLP" of OpenTelemetry's specification for Prometheus compatibility:
names, among them ``_total``, stay as they are; counters become monotonic sums and histograms cumulative
ones. The SDK's data has no place for ``prometheus.type``, which the specification wants beside each metric.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample

UNITS: Mapping[str, str] = {"seconds": "s", "bytes": "By", "ratio": "1"}
"""OpenTelemetry's units by how the names of Prometheus' metrics end."""

SECOND_NS = 1_000_000_000

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A family's name with labels and their values."""


class Beginning(NamedTuple):
    """Since when a series counts, in nanoseconds since 1970, and how far it had come."""

    start_ns: int
    counted: float


Beginnings = Mapping[Series, Beginning]


class Snapshot(NamedTuple):
    """All metrics of one moment, and where their series began."""

    metrics: list[Metric]
    beginnings: Beginnings


def snapshot(families: Iterable[Family], time_ns: int, before: Beginnings) -> Snapshot:
    """Convert all families; ``before`` is of the last snapshot that arrived.

    A counter says itself since when it counts, or begins where it is first seen, or seen to be lower: with a
    point without a duration, which tells that nothing is known of the time before.
    """
    conversion = _Conversion(time_ns, before)
    metrics = [metric for family in families if (metric := conversion.metric(family)) is not None]
    return Snapshot(metrics, conversion.beginnings)


class _Conversion:
    """Converts the families of one moment, and notes where their series began."""

    def __init__(self, time_ns: int, before: Beginnings) -> None:
        self.beginnings: dict[Series, Beginning] = {}
        self._time_ns = time_ns
        self._before = before

    def metric(self, family: Family) -> Metric | None:
        """Convert a family; None if it has no samples."""
        makers = {"counter": self._sum, "gauge": self._gauge, "histogram": self._histogram}
        # A counter's name is that of its samples; the family's lacks the ending.
        name = f"{family.name}_total" if family.type == "counter" else family.name
        data = makers[family.type](family)
        if not data.data_points:
            return None
        return Metric(name, family.documentation, UNITS.get(family.name.rpartition("_")[2], ""), data)

    def _sum(self, family: Family) -> Sum:
        created = _created(family)
        points = [
            NumberDataPoint(
                attributes=sample.labels,
                start_time_unix_nano=self._start_ns(_series(family, sample.labels), sample.value, created),
                time_unix_nano=self._time_ns,
                # One type for all: a series must not change its own.
                value=float(sample.value),
            )
            for sample in _named(family, "_total")
        ]
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)

    def _gauge(self, family: Family) -> Gauge:
        return Gauge([NumberDataPoint(s.labels, 0, self._time_ns, float(s.value)) for s in family.samples])

    def _histogram(self, family: Family) -> Histogram:
        created = _created(family)
        sums = {_series(family, sample.labels): sample.value for sample in _named(family, "_sum")}
        buckets: dict[Series, dict[float, int]] = {}
        for sample in _named(family, "_bucket"):
            bound = float(sample.labels["le"])
            buckets.setdefault(_series(family, sample.labels), {})[bound] = int(sample.value)
        points = [
            self._histogram_point(series, below, sums[series], created) for series, below in buckets.items()
        ]
        return Histogram(points, AggregationTemporality.CUMULATIVE)

    def _histogram_point(
        self, series: Series, below: Mapping[float, int], total: float, created: Mapping[Series, int]
    ) -> HistogramDataPoint:
        *bounds, _ = below
        counts = list(below.values())
        return HistogramDataPoint(
            attributes=dict(series[1]),
            start_time_unix_nano=self._start_ns(series, counts[-1], created),
            time_unix_nano=self._time_ns,
            count=counts[-1],
            sum=total,
            bucket_counts=[after - before for before, after in pairwise((0, *counts))],
            explicit_bounds=bounds,
            # Prometheus has neither; the protocol leaves both out then.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )

    def _start_ns(self, series: Series, count: float, created: Mapping[Series, int]) -> int:
        before = self._before.get(series)
        known_ns = self._time_ns if before is None or count < before.counted else before.start_ns
        start_ns = created.get(series, known_ns)
        self.beginnings[series] = Beginning(start_ns, count)
        return start_ns


def _named(family: Family, ending: str) -> Iterator[Sample]:
    return (sample for sample in family.samples if sample.name == family.name + ending)


def _created(family: Family) -> dict[Series, int]:
    """Return since when each series counts, in nanoseconds since 1970, as far as the family says it."""
    return {
        _series(family, sample.labels): int(sample.value * SECOND_NS) for sample in _named(family, "_created")
    }


def _series(family: Family, labels: Mapping[str, str]) -> Series:
    return family.name, tuple((label, value) for label, value in labels.items() if label != "le")
