"""What is measured, under the names of OpenTelemetry's conventions for generative AI.

The conventions are in development, in a repository of their own, so the names of metrics are here and
nowhere else, and those that spans have too in ``actors/span_names.py``.
Each metric is one that Populace has already, with other names and the same observations: the buckets are
Populace's own where it had others.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Metric

from populace.actors.span_names import (
    CHAT,
    OPERATION_NAME,
    PROVIDER,
    PROVIDER_NAME,
    REQUEST_MODEL,
    RESPONSE_MODEL,
)

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
