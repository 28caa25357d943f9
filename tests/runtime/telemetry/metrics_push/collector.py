"""A collector of OpenTelemetry: an HTTP server that reads what is pushed to it."""

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from queue import SimpleQueue
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""Values by a sample's name and labels, as in Prometheus' text."""


class Collector(ThreadingHTTPServer):
    """Answers 200 and keeps what it was sent; while ``answers`` is not set it answers nothing."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Pushed)
        self.received: SimpleQueue[ExportMetricsServiceRequest] = SimpleQueue()
        self.headers: list[Mapping[str, str]] = []
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def entered(self, change: int) -> None:
        """Count the requests that are being answered."""
        with self._lock:
            self._now += change
            self.most_at_once = max(self.most_at_once, self._now)


class _Pushed(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        collecting = self.server
        assert isinstance(collecting, Collector)
        collecting.entered(1)
        body = self.rfile.read(int(self.headers["content-length"]))
        collecting.answers.wait()
        if self.path == "/v1/metrics":
            collecting.headers.append(dict(self.headers))
            collecting.received.put(ExportMetricsServiceRequest.FromString(body))
        collecting.entered(-1)
        self.send_response(collecting.status if self.path == "/v1/metrics" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in its base class
        """Write nothing."""


@contextmanager
def collector(port: int = 0) -> Generator[Collector]:
    with Collector(port) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            serving.join()


def metrics_in(request: ExportMetricsServiceRequest) -> dict[str, Metric]:
    """All metrics by name; none may be there twice."""
    (of_process,) = request.resource_metrics
    (scope,) = of_process.scope_metrics
    named = {metric.name: metric for metric in scope.metrics}
    assert len(named) == len(scope.metrics)
    return named


def resource_in(request: ExportMetricsServiceRequest) -> dict[str, str]:
    (of_process,) = request.resource_metrics
    return _labels(of_process.resource)


def samples_in(metrics: Mapping[str, Metric]) -> Samples:
    """Write metrics as Prometheus' samples: of a histogram each bucket, its count and its sum."""
    samples: Samples = {}
    for name, metric in metrics.items():
        kind = metric.WhichOneof("data")
        if kind == "histogram":
            for point in metric.histogram.data_points:
                labels = _labels(point)
                samples[name + "_count", frozenset(labels.items())] = point.count
                samples[name + "_sum", frozenset(labels.items())] = point.sum
                bounds = (*point.explicit_bounds, float("inf"))
                for bound, below in zip(bounds, accumulate(point.bucket_counts), strict=True):
                    samples[name + "_bucket", frozenset((labels | {"le": str(bound)}).items())] = below
        else:
            points = metric.sum.data_points if kind == "sum" else metric.gauge.data_points
            for number in points:
                samples[name, frozenset(_labels(number).items())] = number.as_double
    return samples


def _labels(owner: Any) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value"))) for pair in owner.attributes}
