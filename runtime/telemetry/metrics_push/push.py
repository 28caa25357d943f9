"""Pushes metrics again and again, on a thread, so that a collector delays nothing but the next push."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal

from opentelemetry.exporter.otlp.proto.http import metric_exporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import SERVICE_VERSION, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family

from populace.telemetry.metrics_push.genai_metrics import genai_metrics
from populace.telemetry.metrics_push.otlp_data import Beginnings, snapshot

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
