"""Pushes metrics again and again, on a thread, so that a collector delays nothing but the next push.

Some metrics are sent a second time under the names of OpenTelemetry's conventions for generative AI.
These are in development, in a repository of their own, so the names of metrics are here and
nowhere else, and those that spans have too in ``actors/span_names.py``.
Each metric is one that Populace has already, with other names and the same observations: the buckets are
Populace's own where it had others.

What makes OpenTelemetry's data of Prometheus' families follows "Prometheus Metric points to OTLP" of
OpenTelemetry's specification for Prometheus compatibility: names, among them ``_total``, stay as they are;
counters become monotonic sums and histograms cumulative ones. The SDK's data has no place for
``prometheus.type``, which the specification wants beside each metric.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from opentelemetry.exporter.otlp.proto.http import metric_exporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import SERVICE_VERSION, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample

from populace.actors.span_names import (
    CHAT,
    OPERATION_NAME,
    PROVIDER,
    PROVIDER_NAME,
    REQUEST_MODEL,
    RESPONSE_MODEL,
)

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


TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a kind of tokens
REPLICA = "populace.replica"
GATEWAY = "populace.gateway"

TOKEN_TYPES = {"prompt": "input", "completion": "output"}


class View(NamedTuple):
    """A metric's name and unit in the conventions, and the attributes that stand for its labels."""

    name: str
    unit: str
    attributes: Mapping[str, str] = {}


VIEWS: Mapping[str, View] = {
    "populace_first_token_seconds": View("gen_ai.server.time_to_first_token", "s", {"gateway": GATEWAY}),
    "populace_reply_seconds": View("gen_ai.server.request.duration", "s", {"gateway": GATEWAY}),
    "populace_engine_per_token_seconds": View(
        "gen_ai.server.time_per_output_token", "s", {"replica": REPLICA}
    ),
    "populace_reply_tokens": View(
        "gen_ai.client.token.usage", "{token}", {"gateway": GATEWAY, "kind": TOKEN_TYPE}
    ),
}


def genai_metrics(metrics: Iterable[Metric], base: str) -> Iterator[Metric]:
    """Yield what the conventions know too. The model is the base: no attribute is a person's."""
    every = {OPERATION_NAME: CHAT, PROVIDER_NAME: PROVIDER, REQUEST_MODEL: base, RESPONSE_MODEL: base}
    for metric in metrics:
        view = VIEWS.get(metric.name)
        if view is not None and isinstance(metric.data, Histogram):
            points = [replace(p, attributes=every | _attributes(view, p)) for p in metric.data.data_points]
            data = replace(metric.data, data_points=points)
            yield Metric(view.name, metric.description, view.unit, data)


def _attributes(view: View, point: HistogramDataPoint) -> dict[str, str]:
    labels = {name: str(value) for name, value in (point.attributes or {}).items()}
    named = {view.attributes[label]: value for label, value in labels.items()}
    return {name: TOKEN_TYPES[value] if name == TOKEN_TYPE else value for name, value in named.items()}


logger = logging.getLogger(__name__)

Outcome = Literal["delivered", "failed"]

COLLECT_SECONDS_MAX = 30.0
"""How long the families may take: hosts, engines and trainer have their own, shorter limits."""

CLOSE_SECONDS_MAX = 2.0


class MetricsPush:
    """Pushes until ``close``. Make it on the event loop on which the families are collected.

    Where to, with which headers, and how long a push may take is in OpenTelemetry's own variables, such as
    ``OTEL_EXPORTER_OTLP_ENDPOINT``. A push that takes longer than the time between two leaves out those that
    would have been due meanwhile: there is never more than one, and nothing is kept for later, as all counts
    are since the beginning. A collector that is away costs one line of the log when it goes, and one when it
    is back; ``count`` is told of each push.
    """

    def __init__(
        self,
        collect: Callable[[], Coroutine[Any, Any, Iterable[Family]]],
        count: Callable[[Outcome], None],
        resource: Resource,
        *,
        base: str,
        seconds: float,
    ) -> None:
        """Begin; the first push is after ``seconds``. ``base`` is the model's name in GenAI's metrics."""
        self._collect = collect
        self._count = count
        self._resource = resource
        self._scope = InstrumentationScope("populace", str(resource.attributes[SERVICE_VERSION]))
        self._base = base
        self._seconds = seconds
        self._beginnings: Beginnings = {}
        self._fails = False
        self._reason = _Reason()
        # Its methods take keyword arguments of unknown types, which a strict checker refuses.
        self._exporter: Any = OTLPMetricExporter()
        self._loop = asyncio.get_running_loop()
        self._ending = threading.Event()
        self._is_given_up = False
        self._ended = asyncio.Event()
        # A daemon: the end of the process does not wait for a collector that hangs.
        self._thread = threading.Thread(target=self._run, name="metrics-push", daemon=True)
        self._thread.start()

    async def close(self, seconds_max: float = CLOSE_SECONDS_MAX) -> None:
        """Push the last figures, and push no more. Waits ``seconds_max`` at most, then gives these up."""
        self._ending.set()
        try:
            async with asyncio.timeout(seconds_max):
                await self._ended.wait()
        except TimeoutError:
            self._is_given_up = True
            logger.warning("the last metrics were not pushed within %.1f s", seconds_max)
            self._exporter.shutdown()  # which ends its waiting for another try

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            self._push()
            due = max(due + self._seconds, time.monotonic())
        if not self._is_given_up:
            self._push()
        self._exporter.shutdown()
        self._reason.close()
        self._tell(self._ended.set)

    def _push(self) -> None:
        self._reason.last = None
        try:
            is_delivered = self._deliver()
        except Exception as error:  # also a fault of ours must not end the pushing
            is_delivered = False
            self._reason.last = error
        if is_delivered and self._fails:
            logger.info("metrics reach the collector again")
        elif not is_delivered and not self._fails:
            logger.warning(
                "metrics do not reach the collector: %s; further failures are only counted", self._reason.last
            )
        self._fails = not is_delivered
        self._tell(self._count, "delivered" if is_delivered else "failed")

    def _deliver(self) -> bool:
        taken = snapshot(self._families(), time.time_ns(), self._beginnings)
        metrics = [*taken.metrics, *genai_metrics(taken.metrics, self._base)]
        scoped = ScopeMetrics(self._scope, metrics, schema_url="")
        data = MetricsData([ResourceMetrics(self._resource, [scoped], schema_url="")])
        if self._exporter.export(data) is not MetricExportResult.SUCCESS:
            return False
        # Only now, so that a point that says where a series begins is sent until it arrives.
        self._beginnings = taken.beginnings
        return True

    def _families(self) -> Iterable[Family]:
        collecting = self._collect()
        try:
            asked = asyncio.run_coroutine_threadsafe(collecting, self._loop)
        except RuntimeError:  # the loop was closed
            collecting.close()
            raise
        try:
            return asked.result(COLLECT_SECONDS_MAX)
        finally:
            asked.cancel()

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        """Call on the loop, unless that was closed meanwhile."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)


class _Reason(logging.Filter):
    """Keeps why the exporter failed last, and from the log its lines, of which each failure has several."""

    def __init__(self) -> None:
        super().__init__()
        self.last: object = None
        self._logger = logging.getLogger(metric_exporter.__name__)
        # A level of its own, so that another one of all of OpenTelemetry hides nothing from this filter.
        self._logger.setLevel(logging.WARNING)
        self._logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        for argument in arguments:
            if isinstance(argument, BaseException) or (isinstance(argument, str) and argument != "metrics"):
                self.last = argument
        if self.last is None:
            self.last = record.getMessage().rstrip(".")
        return False

    def close(self) -> None:
        self._logger.removeFilter(self)
