"""Pushes what ``/metrics`` shows, for operators whose collector is pushed to and scrapes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from populace.gateway.http.context import Gateway
from populace.gateway.operations import reports_of

if TYPE_CHECKING:
    from populace.telemetry.metrics_push.push import MetricsPush


def start_metrics_push(gateway: Gateway, *, number: int, seconds: float) -> MetricsPush:
    """Push what this gateway, the ``number``-th, shows, from now on. Call it on its event loop."""
    # OpenTelemetry, which a gateway that pushes nothing need not have in memory.
    from populace.telemetry.metrics_push.push import MetricsPush
    from populace.telemetry.resource import process_resource

    async def collect() -> Iterable[Metric]:
        return gateway.metrics.families(await reports_of(gateway))

    return MetricsPush(
        collect,
        gateway.metrics.pushed,
        process_resource("gateway", number),
        base=gateway.engine.base.name,
        seconds=seconds,
    )
